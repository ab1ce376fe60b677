"""The plan of faults, and the traffic: both follow from the seed."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations

import pytest

from benchmarks.chaos.faults import QUICK, SCENARIOS, plan
from benchmarks.chaos.traffic import interactions

SECONDS = 600.0
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_everything_happens_and_nothing_twice_at_once_at_one_place(name: str) -> None:
    scenario = SCENARIOS[name]
    planned = plan(scenario.faults, SECONDS, scenario.pause, seed=1)
    assert {each.fault for each in planned} == set(scenario.faults)
    assert all(0 < each.begin <= each.end <= SECONDS for each in planned)
    for one, other in combinations(planned, 2):
        assert one.fault.place != other.fault.place or one.end < other.begin or other.end < one.begin


def test_the_seed_decides() -> None:
    faults = SCENARIOS["apart"].faults
    assert plan(faults, SECONDS, 5, seed=1) == plan(faults, SECONDS, 5, seed=1) != plan(faults, SECONDS, 5, seed=2)
    assert interactions(500, 1, NOW) == interactions(500, 1, NOW) != interactions(500, 2, NOW)


def test_the_shares_of_a_run_add_up() -> None:
    for scenarios in (SCENARIOS, QUICK):
        assert sum(each.share for each in scenarios.values()) == pytest.approx(1)


def test_both_applications_use_the_same_ids_and_one_of_them_changes() -> None:
    lines = interactions(6_000, 1, NOW)
    ids = {name: {line["interaction_id"] for line in lines if line["application"] == name} for name in ("shop", "bank")}
    assert ids["bank"] < ids["shop"]
    assert [line for line in lines if "SELECT" in line["prompt"]]
    assert not [line for line in lines[:2_000] if "SELECT" in line["prompt"]]
