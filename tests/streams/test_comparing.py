"""What the settings of fairness and of the judge come to, and how wrong ones are refused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.agents.judging import open_judging
from streams.comparing import drift_budget
from streams.core.fairness import Measure
from streams.pipeline import rules_of
from streams.settings import ConfigurationError, Judge, Settings


def settings(**fairness: Any) -> Settings:
    return Settings.model_validate({"fairness": fairness, "applications": {"shop": {"weight": 3}}})


def test_a_signal_is_compared_by_rate_mean_or_place() -> None:
    rules = rules_of(settings(signals=["refusal", "relevance", "error"], groupings=["attribute tenant", "template"]))
    assert rules.fairness is not None
    kinds = {measure.signal: measure.kind for measure in rules.fairness.measures}
    assert kinds == {"refusal": "rate", "relevance": "place", "error": "rate"}
    assert all(isinstance(measure, Measure) for measure in rules.fairness.measures)


def test_fairness_and_everything_else_have_the_whole_budget_between_them() -> None:
    rules = rules_of(settings(budget_share=0.2))
    assert rules.fairness is not None
    assert rules.fairness.budget.pages_per_30_days == pytest.approx(0.2)
    assert rules.budget.pages_per_30_days == pytest.approx(0.8)
    everybody = frozenset({"shop", "bot"})
    assert rules.pages_per_second("shop", everybody) == pytest.approx(3 / 4 / (30 * 86_400))


def test_without_a_grouping_nothing_is_taken_from_the_budget() -> None:
    nobody = settings(groupings=[])
    assert rules_of(nobody).fairness is None and drift_budget(nobody).pages_per_30_days == 1


@pytest.mark.parametrize("grouping", ["tenant", "attribute *", "attribute ", "prompt.colour"])
def test_a_grouping_that_there_is_not_is_refused(grouping: str) -> None:
    with pytest.raises(ConfigurationError, match=r"fairness\.groupings"):
        rules_of(settings(groupings=[grouping]))


def test_a_signal_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"fairness\.signals: there is no signal 'charm'"):
        rules_of(settings(signals=["charm"]))


def test_a_judge_needs_a_model_and_prompts_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"judge\.url is set without judge\.model"):
        Settings.model_validate({"judge": {"url": "http://127.0.0.1:1/v1"}})
    around = cast(Any, SimpleNamespace(store=None, publisher=None, clock=None, settings=None))

    async def open_one() -> None:
        open_judging(Judge(url="http://127.0.0.1:1/v1", model="j", evaluations=["charm-v1"]), around)

    with pytest.raises(ConfigurationError, match=r"judge\.evaluations: evaluation charm-v1: no such prompt"):
        asyncio.run(open_one())
