"""Groups, swaps and estimates on a real store: what a killed stage would have said, from what is stored."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from detectors.scoring import Scorer
from sinks.clickhouse import Store
from sinks.queries import Queries
from streams.agents.estimating import Estimating
from streams.agents.swapping import Swapping
from streams.agents.watch import WatchStage, comparison_row
from streams.core.budget import Budget
from streams.core.events import Compared, Raised
from streams.core.fairness import FairnessRules, Measure
from streams.core.partition import PartitionMonitor
from tests.streams.agents.conftest import Topic
from tests.streams.agents.test_watch_stage import RULES, Killed, cut, pages_of, take, traffic
from tocsin.messages import SIGNALS, Scored

NOW = datetime.now(UTC).replace(microsecond=0)  # rows that are too old go
FAIRNESS = FairnessRules(
    ("attribute region",),
    (Measure("refusal", "rate", 0.5), Measure("relevance", "place")),
    Budget(1.0),
    least_units=100,
)


def refused(messages: Sequence[Scored], region: str) -> list[Scored]:
    """Half of what one region asks is refused, and a fiftieth of what the others do."""
    random = np.random.default_rng(0)
    return [
        one.model_copy(
            update={
                "signals": one.signals
                | {"refusal": float(random.random() < (0.5 if one.attributes["region"] == region else 0.02))}
            }
        )
        for one in messages
    ]


def test_a_killed_stage_neither_forgets_a_group_nor_counts_it_twice(
    store: Store, bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, rules = f"f-{uuid.uuid4()}", replace(RULES, fairness=FAIRNESS)
    messages = refused(traffic(store, application, 1_300, 1_300, regions=["eu", "us", "us"]), "eu")
    topic = Topic(SIGNALS)
    batches = cut([topic.record(each) for each in messages], 300, 500)
    take(store, bootstrap, batches[:-1], killed_between=True, rules=rules)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(WatchStage, "_close", killed)  # after rows and pages were written, before the snapshot
        with pytest.raises(Killed):
            take(store, bootstrap, batches[-1:], rules=rules)
    take(store, bootstrap, batches[-1:], rules=rules)
    events = PartitionMonitor(rules).apply(messages, {})
    raised = {event.page.page_id: event.page for event in events if isinstance(event, Raised)}
    assert {page.page_id: page for page in pages_of(bootstrap, application)} == raised
    assert ("refusal", "attribute region=eu") in {(page.stream, page.segment) for page in raised.values()}
    last = [event for event in events if isinstance(event, Compared)][-1]
    stored = Queries(store).read("fairness", application=application)
    assert {(row["value"], row["signal"]): row["pairs"] for row in stored} == {
        (one.value, one.signal): one.pairs for one in last.comparisons
    }
    eu = next(row for row in stored if (row["value"], row["signal"]) == ("eu", "refusal"))
    expected = comparison_row(next(one for one in last.comparisons if (one.value, one.signal) == ("eu", "refusal")))
    assert {name: eu[name] for name in ("gap", "low", "high", "mean", "units", "paged")} == {
        name: expected[name] for name in ("gap", "low", "high", "mean", "units", "paged")
    }


# -- swaps -----------------------------------------------------------------------------------------------------------


def mention(store: Store, texts: Sequence[tuple[str, str]], groups: str = "women") -> None:
    store.insert(
        "interactions",
        [
            {
                "application": "bot",
                "interaction_id": f"i{n}",
                "occurred_at": NOW - timedelta(minutes=30 - n),
                "prompt": prompt,
                "response": response,
                "labels": {"prompt.groups": groups} if groups else {},
                "retention_days": 3650,
            }
            for n, (prompt, response) in enumerate(texts)
        ],
    )


def swapping(store: Store, scorer: Scorer, per_hour: int = 60) -> Swapping:
    return Swapping(store, scorer, ("refusal", "prompt.toxicity", "response.toxicity"), per_hour, lambda: NOW)


def test_a_text_that_mentions_a_group_is_scored_again_with_the_others_and_once(store: Store, scorer: Scorer) -> None:
    mention(store, [("My wife asks for her refund.", "The lady may have it."), ("Nothing.", "Nothing.")])
    first = swapping(store, scorer)
    assert first.advance() == 2 and first.advance() == 0
    assert swapping(store, scorer).advance() == 0, "a restart swaps nothing again"
    rows = store.query("SELECT * FROM swaps FINAL ORDER BY side")
    assert [(row["side"], row["before"], row["after"]) for row in rows] == [
        ("prompt", "woman", "man"),
        ("response", "woman", "man"),
    ]
    assert set(rows[0]["gaps"]) == {"refusal", "prompt.toxicity", "response.toxicity"}
    assert rows[0]["gaps"]["response.toxicity"] == pytest.approx(0, abs=1e-6) and all(
        abs(gap) <= 1 for gap in rows[0]["gaps"].values()
    )
    assert {row["texts"] for row in Queries(store).read("swaps", application="bot")} == {2}


def test_no_more_texts_an_hour_than_are_allowed(store: Store, scorer: Scorer) -> None:
    mention(store, [(f"A Muslim asks for parcel {n}.", "It is on its way.") for n in range(4)])
    limited = swapping(store, scorer, per_hour=6)
    assert [limited.advance(), limited.advance()] == [6, 0]


def test_what_mentions_nobody_is_never_read(store: Store, scorer: Scorer) -> None:
    mention(store, [("A Muslim asks.", "Yes.")], groups="")
    assert swapping(store, scorer).advance() == 0


# -- estimates -------------------------------------------------------------------------------------------------------


def answered(store: Store, count: int, judged: int, rated: int) -> float:
    """Interactions whose quality a signal tells nearly; some of them judged, some rated; returns the true mean."""
    random = np.random.default_rng(1)
    good = (random.random(count) < 0.7).astype(float)
    shared: dict[str, Any] = {"application": "bot", "retention_days": 3650}
    store.insert(
        "interactions",
        [
            shared
            | {
                "interaction_id": f"i{n}",
                "occurred_at": NOW - timedelta(hours=1),
                "signals": {"relevance": float(good[n] + 0.4 * random.normal()), "noise": float(random.normal())},
                "model_name": "llama",
            }
            for n in range(count)
        ],
    )
    verdict: dict[str, Any] = {"evaluation": "helpfulness-v1", "judge_model": "judge-7", "state": "judged"}
    store.insert(
        "verdicts",
        [
            verdict
            | {
                "verdict_id": f"v{n}",
                "application": "bot",
                "interaction_id": f"i{n}",
                "planned_at": NOW,
                "score": good[n],
                "expected": None,
                "version": 1,
            }
            for n in range(judged)
        ],
    )
    store.insert(
        "feedback",
        [
            shared
            | {
                "interaction_id": f"i{n}",
                "feedback_id": f"f{n}",
                "given_at": NOW,
                "kind": "rating",
                "rating": good[n],
                "author": "ann",
            }
            for n in range(rated)
        ],
    )
    return float(good.mean())


def test_quality_is_estimated_by_people_and_by_the_judge_and_signals_shorten_the_interval(store: Store) -> None:
    truth = answered(store, 2_000, judged=200, rated=100)
    Estimating(store, lambda: NOW).advance()
    Estimating(store, lambda: NOW).advance()
    rows = {row["subject"]: row for row in Queries(store).read("quality", application="bot")}
    assert set(rows) == {"people", "helpfulness-v1 by judge-7"}
    for row in rows.values():
        assert row["low"] <= truth <= row["high"] and row["high"] - row["low"] < row["plain_high"] - row["plain_low"]
    assert (rows["people"]["labels"], rows["people"]["unlabelled"]) == (100, 1_900)
    assert store.query("SELECT count() AS n FROM estimates FINAL")[0]["n"] == 2


def test_too_few_labels_and_ratings_of_nobody_give_no_estimate(store: Store) -> None:
    answered(store, 100, judged=5, rated=0)
    Estimating(store, lambda: NOW).advance()
    assert store.query("SELECT * FROM estimates") == []


def test_the_sample_to_rate_is_random_and_leaves_out_what_is_rated(store: Store) -> None:
    at = datetime.now(UTC)
    row = {"application": "bot", "occurred_at": at, "prompt": "p", "response": "r", "retention_days": 3650}
    store.insert("interactions", [row | {"interaction_id": f"i{n:03}"} for n in range(60)])
    before = [each["interaction_id"] for each in Queries(store).read("to_rate", application="bot")]
    assert len(set(before)) == 20 and before != sorted(before)
    rating = {"application": "bot", "given_at": at, "kind": "rating", "rating": 1.0, "retention_days": 3650}
    store.insert("feedback", [rating | {"interaction_id": before[0], "feedback_id": "f"}])
    assert before[0] not in {each["interaction_id"] for each in Queries(store).read("to_rate", application="bot")}
