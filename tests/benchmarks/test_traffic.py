"""Traffic in which nothing changes, and traffic in which it does, are what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift import texts, traffic
from benchmarks.drift.changes import CHANGE_AT, NULL, Change, Mixture
from benchmarks.drift.traffic import LAWS, Drawn

D = 8


def directions(n: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, D))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def sets(data: Path) -> dict[str, np.ndarray]:
    return {name: directions(len(texts.SETS[name]()), seed) for seed, name in enumerate(("assistant", "turns"))}


def draw(name: str, sets: dict[str, np.ndarray], seed: int = 0, units: int = 2_000, length: int = 500) -> Drawn:
    return LAWS[name](sets, np.random.default_rng(seed), units, length)


@pytest.mark.parametrize("name", [name for name in LAWS if "conversations" not in name and "few" not in name])
def test_every_law_gives_the_units_asked_for_and_the_same_ones_for_a_seed(
    sets: dict[str, np.ndarray], name: str
) -> None:
    drawn, again, other = (draw(name, sets, seed) for seed in (0, 0, 1))
    assert (drawn.reference.shape, drawn.stream.shape) == ((2_000, D), (500, D))
    assert np.array_equal(drawn.stream, again.stream) and not np.array_equal(drawn.stream, other.stream)


def test_a_session_gives_one_unit_its_first_turn(sets: dict[str, np.ndarray]) -> None:
    openings = {sets["turns"][turns[0]].tobytes() for turns in texts.sessions()}
    for name in ("sessions", "20 users interleaved"):
        assert all(unit.tobytes() in openings for unit in draw(name, sets).stream)
    assert not all(unit.tobytes() in openings for unit in draw("every turn a unit", sets).stream)


def test_bursts_are_in_the_traffic_and_the_rule_for_repeats_takes_them_out(sets: dict[str, np.ndarray]) -> None:
    bursts = draw("retry bursts, repeats counted", sets).reference
    same = (bursts[1:] == bursts[:-1]).all(axis=1).mean()
    assert same == pytest.approx(0.09, abs=0.03)
    cured = draw("retry bursts", sets).reference
    for at in range(0, 2_000 - 256, 100):
        assert len(np.unique(cured[at : at + 256], axis=0)) == 256


def test_topics_swing_with_the_day_and_buckets_follow(sets: dict[str, np.ndarray]) -> None:
    drawn = draw("day and night", sets, units=10_000, length=5_000)
    assert drawn.reference_buckets is not None and drawn.buckets is not None
    assert set(drawn.reference_buckets) == set(drawn.buckets) == set(range(drawn.buckets.max() + 1))
    assert drawn.buckets.max() > 0
    place = {vector.tobytes(): domain for vector, domain in zip(sets["assistant"], texts.domains(), strict=True)}
    travel = np.array([place[unit.tobytes()] == traffic.SWINGING[0] for unit in drawn.stream])
    quarters = travel.reshape(2, 4, -1).mean(axis=(0, 2))
    assert quarters.max() - quarters.min() > 0.1


def test_a_share_of_the_units_changes_from_the_change_on_and_a_ramp_grows() -> None:
    pools = {NULL: directions(50, 1), "topic": directions(40, 2)}
    at_once = Mixture(pools, Change("topic", 0.2), np.random.default_rng(0), 20_000)
    assert not at_once.changed[:CHANGE_AT].any()
    assert at_once.changed[CHANGE_AT:].mean() == pytest.approx(0.2, abs=0.01)
    slowly = Mixture(pools, Change("topic", 0.3, over=10_000), np.random.default_rng(0), 20_000).changed[CHANGE_AT:]
    assert [slowly[a : a + 5_000].mean() for a in (0, 5_000, 10_000)] == pytest.approx([0.075, 0.225, 0.3], abs=0.02)
    foreign = {vector.tobytes() for vector in pools["topic"]}
    assert [vector.tobytes() in foreign for vector in at_once.values(0, 3_000)] == at_once.changed[:3_000].tolist()
