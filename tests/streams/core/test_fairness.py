"""Groups beside the rest: a gap is found, no gap is not, and nothing depends on how messages are cut or who crashed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from streams.core.budget import Budget
from streams.core.events import Compared, Comparison, Event, Raised
from streams.core.fairness import Fairness, FairnessRules, Measure, groups_of
from streams.core.monitor import ApplicationMonitor
from streams.core.rules import Rules
from streams.core.snapshot import dump, read, restore
from streams.core.units import Unit, Vectors
from streams.core.wording import headline

START, MINUTE, DAY = 1.8e9, 60.0, 86_400.0
NOBODY = frozenset[str]()
RULES = FairnessRules(
    groupings=("attribute tenant",),
    measures=(Measure("refusal", "rate", 0.5), Measure("latency_ms", "place")),
    budget=Budget(1.0),
    most_groups=4,
    period_days=60,
)


def traffic(count: int, refused: dict[str, float], slower: float = 1.0, seed: int = 0) -> Iterator[Unit]:
    """A unit a minute; tenants alike often, refused at these rates; the first one's latency times `slower`."""
    random, tenants = np.random.default_rng(seed), list(refused)
    for i in range(count):
        tenant = tenants[random.integers(len(tenants))]
        latency = random.lognormal(6, 1) * (slower if tenant == tenants[0] else 1)
        signals = {"refusal": float(random.random() < refused[tenant]), "latency_ms": latency}
        yield unit(i, signals, tenant)


def unit(i: int, signals: dict[str, float], tenant: str) -> Unit:
    return Unit(f"u{i}", START + i * MINUTE, "test", Vectors({}), signals, {"attribute tenant": tenant})


def pages(events: list[Event]) -> list[str]:
    return [f"{one.page.segment} {one.page.stream}" for one in events if isinstance(one, Raised)]


def latest(events: list[Event]) -> dict[tuple[str, str], Comparison]:
    shown = [one for event in events if isinstance(event, Compared) for one in event.comparisons]
    return {(one.value, one.signal): one for one in shown}


def test_a_known_gap_is_shown_with_its_size_and_paged_once() -> None:
    events = Fairness("bot", RULES).apply(list(traffic(16_000, {"a": 0.06, "b": 0.02, "c": 0.02})), NOBODY)
    assert pages(events).count("attribute tenant=a refusal") == 1
    found = latest(events)["a", "refusal"]
    assert found.low < 0.04 < found.high and found.low > 0 and found.paged
    assert found.mean == pytest.approx(0.06, abs=0.01) and found.rest_mean == pytest.approx(0.02, abs=0.01)
    page = next(one.page for one in events if isinstance(one, Raised))
    assert page.lane == "fairness" and page.effect.before < page.effect.now


def test_a_group_that_waits_longer_is_found_whatever_the_tail_of_the_times() -> None:
    events = Fairness("bot", RULES).apply(list(traffic(6_000, {"a": 0.02, "b": 0.02}, slower=2.0)), NOBODY)
    assert latest(events)["a", "latency_ms"].low > 0 > latest(events)["b", "latency_ms"].high
    assert pages(events) == ["attribute tenant=a latency_ms"], "of two groups, the other has the same gap turned round"


def test_of_three_groups_each_that_differs_from_the_rest_pages() -> None:
    events = Fairness("bot", RULES).apply(list(traffic(16_000, {"a": 0.12, "b": 0.02, "c": 0.07})), NOBODY)
    assert {"attribute tenant=a refusal", "attribute tenant=b refusal"} <= set(pages(events))


def test_groups_that_are_treated_alike_page_nobody_though_everything_changes_for_all_of_them() -> None:
    """The rate rises fivefold while the share of one group does."""
    random = np.random.default_rng(4)
    units = []
    for i in range(12_000):
        late = i > 6_000
        tenant = "a" if random.random() < (0.8 if late else 0.2) else "b"
        signals = {
            "refusal": float(random.random() < (0.1 if late else 0.02)),
            "latency_ms": random.lognormal(6 + late),
        }
        units.append(unit(i, signals, tenant))
    events = Fairness("bot", RULES).apply(units, NOBODY)
    assert pages(events) == []
    plain = latest(events)["a", "refusal"]
    assert plain.mean - plain.rest_mean > 0.02, "the plain rates differ, since the group came when all were refused"
    assert plain.low < 0 < plain.high


def test_a_gap_below_the_least_effect_is_shown_and_not_paged() -> None:
    rules = replace(RULES, least_effect=0.5)
    events = Fairness("bot", rules).apply(list(traffic(8_000, {"a": 0.2, "b": 0.02})), NOBODY)
    assert pages(events) == [] and latest(events)["a", "refusal"].low > 0


def test_too_few_units_say_nothing() -> None:
    rules = replace(RULES, least_units=5_000)
    assert Fairness("bot", rules).apply(list(traffic(6_000, {"a": 0.5, "b": 0.02})), NOBODY) == []


def test_a_period_ends_and_the_next_one_pages_anew() -> None:
    rules = replace(RULES, period_days=4)
    events = Fairness("bot", rules).apply(list(traffic(11_000, {"a": 0.2, "b": 0.02})), NOBODY)
    assert pages(events).count("attribute tenant=a refusal") == 2
    ids = [one.page.page_id for one in events if isinstance(one, Raised)]
    assert len(set(ids)) == len(ids)


def test_values_that_do_not_recur_are_no_groups_and_take_no_memory() -> None:
    fairness = Fairness("bot", RULES)
    fairness.apply([unit(i, {"refusal": 0.0}, f"id-{i}") for i in range(3_000)], NOBODY)
    assert fairness.pairs["attribute tenant"].groups == {}
    assert len(fairness.sightings["attribute tenant"]) <= 1_001


def test_a_text_may_mention_several_groups_and_an_attribute_may_hold_a_comma() -> None:
    fields = {"prompt.groups": "women, muslim,women,", "attribute tenant": "Smith, Inc"}
    both = replace(unit(0, {}, ""), fields=fields)
    assert groups_of(both, "prompt.groups") == ("women", "muslim")
    assert groups_of(both, "attribute tenant") == ("Smith, Inc",)
    assert groups_of(both, "attribute region") == ()


def test_a_signal_that_does_not_apply_counts_for_nobody() -> None:
    units = [unit(i, {"latency_ms": float(i % 7)}, "ab"[i % 2]) for i in range(2_000)]
    assert {one.signal for one in latest(Fairness("bot", RULES).apply(units, NOBODY)).values()} == {"latency_ms"}


@pytest.mark.parametrize("cut", [1, 97, 1_000])
def test_it_does_not_matter_how_units_are_cut_into_batches(cut: int) -> None:
    units = list(traffic(3_000, {"a": 0.3, "b": 0.02}))
    at_once, fairness = Fairness("bot", RULES).apply(units, NOBODY), Fairness("bot", RULES)
    pieces = [event for i in range(0, len(units), cut) for event in fairness.apply(units[i : i + cut], NOBODY)]
    assert pieces == at_once


def test_a_monitor_that_is_restored_at_any_point_says_the_same_as_one_that_never_stopped() -> None:
    rules = Rules(2_000, {}, Budget(1.0), fairness=RULES)
    units = list(traffic(3_000, {"a": 0.3, "b": 0.02}))
    steady, stopped = ApplicationMonitor("bot", rules), ApplicationMonitor("bot", rules)
    assert steady.fairness is not None
    told = steady.fairness.apply(units, NOBODY)
    again: list[Event] = []
    for start in range(0, 3_000, 700):
        assert stopped.fairness is not None
        again += stopped.fairness.apply(units[start : start + 700], NOBODY)
        stopped = restore(read(dump(stopped)), rules, {}, {})
    assert again == told and any(isinstance(event, Raised) for event in told)


def test_a_snapshot_of_other_groupings_begins_anew() -> None:
    rules = Rules(2_000, {}, Budget(1.0), fairness=RULES)
    monitor = ApplicationMonitor("bot", rules)
    assert monitor.fairness is not None
    monitor.fairness.apply(list(traffic(500, {"a": 0.3, "b": 0.02})), NOBODY)
    other = replace(rules, fairness=replace(RULES, groupings=("attribute region",)))
    restored = restore(read(dump(monitor)), other, {}, {})
    assert restored.fairness is not None and restored.fairness.began_at == 0


def test_all_comparisons_of_all_applications_share_the_part_of_the_budget() -> None:
    fairness = Fairness("bot", replace(RULES, budget=Budget(0.05)))
    fairness.apply([unit(0, {}, "a")], frozenset({"bot", "shop"}))
    spent = fairness.alpha * RULES.comparisons
    assert spent == pytest.approx(0.05 / 2 * 60 / 30)


def test_a_page_says_what_is_higher_for_whom_and_not_that_something_has_risen() -> None:
    events = Fairness("bot", RULES).apply(list(traffic(3_000, {"a": 0.4, "b": 0.02})), NOBODY)
    page = next(one.page for one in events if isinstance(one, Raised) and one.page.segment.endswith("=a"))
    assert headline(page) == "bot: refusal is higher for tenant=a than for others"
