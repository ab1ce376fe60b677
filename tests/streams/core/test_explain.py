"""What a page says about the change, read off units whose change is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.drift import Alarm, Batch, rank
from detectors.drift.rank import RankDetector
from detectors.drift.vectors import VectorDetector
from streams.core.explain import clusters_of, effect_of, exemplars_of, loudness, shifts_of
from streams.core.monitor import ApplicationMonitor
from streams.core.reference import Composition, Reference
from streams.core.units import Unit, to_unit

CALM = {"prompt.repeat": 0.0, "response.repeat": 0.0}
UNITS = 2_000


@pytest.fixture(scope="module")
def reference(taught: ApplicationMonitor) -> Reference:
    assert taught.reference is not None
    return taught.reference


def window(traffic: Any, old: int, new: int) -> list[Unit]:
    """Ordinary units, then changed prompts."""
    messages = traffic(old, first=UNITS) + traffic(new, first=9_000, kind="new")
    return [to_unit(message).with_signals(CALM) for message in messages]


def alarm(lane: str, age: int, position: int = 500) -> Alarm:
    return Alarm(index=0, position=position, lane=lane, evidence=1.0, threshold=1e-4, age=age)


def test_all_of_the_traffic_changed(reference: Reference, traffic: Any) -> None:
    units = window(traffic, 200, 100)
    for lane in ("novelty", "look 128"):
        effect, share = effect_of(reference, "prompt", alarm(lane, 100), units)
        assert effect.units == 100 and share is not None
        assert effect.low is not None and effect.high is not None and effect.low <= effect.now <= effect.high
        assert effect.low > effect.before and 0.2 < share <= 1


def test_nothing_changed(reference: Reference, traffic: Any) -> None:
    units = window(traffic, 400, 0)
    for lane in ("novelty", "look 512"):
        effect, share = effect_of(reference, "prompt", alarm(lane, 400), units)
        assert effect.low is not None and effect.high is not None and share is not None
        assert effect.low <= effect.before + 0.05 and share < 0.15


def test_an_effect_is_read_off_sixteen_units_at_least(reference: Reference, traffic: Any) -> None:
    units = window(traffic, 30, 1)
    assert effect_of(reference, "prompt", alarm("novelty", 1), units)[0].units == 16
    assert effect_of(reference, "length", alarm("rank", 1), units)[0].units == 16


def test_the_effect_of_a_stream_that_was_armed_just_now_leaves_out_what_came_before(
    reference: Reference, traffic: Any
) -> None:
    effect, _ = effect_of(reference, "prompt", alarm("look 128", 20, position=24), window(traffic, 200, 24))
    assert effect.units == 24 and effect.low is not None and effect.low > effect.before


def test_an_effect_is_not_hidden_by_what_came_before_where_the_beginning_is_estimated_too_early(
    reference: Reference, traffic: Any
) -> None:
    units = window(traffic, 120, 40)
    for lane, age in (("novelty", 160), ("look 128", 160), ("novelty", 5_000)):  # of these, 160 are kept
        effect, share = effect_of(reference, "prompt", alarm(lane, age), units)
        assert effect.units == 40 and share is not None
        assert effect.low is not None and effect.low > effect.before


def test_exemplars_of_novelty_leave_out_what_is_ordinary(reference: Reference, traffic: Any) -> None:
    units = window(traffic, 120, 5)
    state = reference.detectors["prompt"].start()
    told = exemplars_of(reference, "prompt", state, alarm("novelty", 125), units)
    new = {unit.interaction_id for unit in units[-5:]}
    assert 3 <= len(told) <= 8 and told[0].interaction_id in new


@pytest.mark.parametrize("lane", ["novelty", "look 32"])
def test_two_units_are_enough_for_a_finite_answer(reference: Reference, traffic: Any, lane: str) -> None:
    effect, _ = effect_of(reference, "prompt", alarm(lane, 2), window(traffic, 2, 0))
    assert np.isfinite([effect.now, effect.low or 0, effect.high or 0]).all()


def test_a_signals_effect_is_its_mean_then_and_now(reference: Reference, traffic: Any) -> None:
    units = [unit.with_signals({"length": 50.0 + i}) for i, unit in enumerate(window(traffic, 20, 0))]
    effect, share = effect_of(reference, "length", alarm("rank", 20), units)
    assert (effect.quantity, effect.now, share) == ("mean of length", 59.5, None)
    assert effect.before == pytest.approx(np.exp(0.5), rel=0.1)


def test_a_rates_effect_is_a_share_with_its_interval(reference: Reference, traffic: Any) -> None:
    units = [unit.with_signals({"response.repeat": float(i % 2)}) for i, unit in enumerate(window(traffic, 100, 0))]
    effect, share = effect_of(reference, "response.repeat", alarm("rank", 100), units)
    assert (effect.quantity, effect.before, effect.now, share) == ("rate of response.repeat", 0.0, 0.5, 0.5)
    assert effect.low == pytest.approx(0.4038, abs=1e-3) and effect.high == pytest.approx(0.5962, abs=1e-3)


@pytest.mark.parametrize("lane", ["novelty", "look 128"])
def test_exemplars_of_a_vector_stream_are_mostly_changed_units(reference: Reference, traffic: Any, lane: str) -> None:
    units = window(traffic, 200, 60)
    detector = reference.detectors["prompt"]
    assert isinstance(detector, VectorDetector)
    vectors = np.array([unit.vectors["prompt"] for unit in units], np.float32)
    state, _ = detector.update(detector.start(), Batch(vectors, np.full(260, 1e-9), np.full(260, 0.5)))
    found = exemplars_of(reference, "prompt", state, alarm(lane, 120), units)
    changed = [int(each.interaction_id[1:]) >= 9_000 for each in found]
    assert len(found) == 10 and sum(changed) >= 7, "of the window a half"
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    scores = loudness(detector, state, lane, vectors[-120:])
    assert [each.score for each in found] == sorted(scores, reverse=True)[:10]


def test_clusters_that_moved_are_named_with_a_unit_of_now(reference: Reference, traffic: Any) -> None:
    units = window(traffic, 0, 200)
    detector = reference.detectors["prompt"]
    assert isinstance(detector, VectorDetector)
    found = clusters_of(reference, "prompt", units)
    assert 2 <= len(found) <= 8
    assert [abs(each.share_now - each.share_before) for each in found] == sorted(
        (abs(each.share_now - each.share_before) for each in found), reverse=True
    )
    vectors = {unit.interaction_id: unit.vectors["prompt"] for unit in units}
    nearest = detector.reference.nearest(np.array(list(vectors.values())))
    for each in found:
        assert each.share_before == pytest.approx(detector.reference.occupancy[each.cluster])
        assert each.share_now == pytest.approx(float((nearest == each.cluster).mean()))
        if each.share_now:
            assert int(detector.reference.nearest(vectors[each.interaction_id][None])[0]) == each.cluster
        else:
            assert each.interaction_id == ""
    assert clusters_of(reference, "length", units) == found, "about a signal, too, prompts say most"


def test_clusters_of_traffic_that_did_not_move_are_seldom_named(reference: Reference, traffic: Any) -> None:
    calm = [to_unit(message).with_signals(CALM) for message in traffic(1_000, first=UNITS)]
    named = [clusters_of(reference, "prompt", calm[start : start + 200]) for start in range(0, 1_000, 200)]
    assert sum(map(len, named)) < len(named), "less than one a page"
    assert len(clusters_of(reference, "response", window(traffic, 0, 200))) <= 1, "only prompts changed"
    assert clusters_of(reference, "prompt", window(traffic, 0, 15)) == [], "too few to say anything"
    assert clusters_of(replace(reference, detectors={}), "prompt", window(traffic, 0, 100)) == []


@pytest.mark.parametrize(("value", "direction"), [(90.0, 1), (-90.0, -1)])
def test_exemplars_of_a_signal_lie_on_the_side_it_moved_to(
    reference: Reference, taught: ApplicationMonitor, traffic: Any, value: float, direction: int
) -> None:
    units = window(traffic, 40, 0)
    units[-10:] = [unit.with_signals({"length": value + i * direction}) for i, unit in enumerate(units[-10:])]
    found = exemplars_of(reference, "length", taught.whole.states["length"], alarm("rank", 10), units)
    assert [each.interaction_id for each in found] == [unit.interaction_id for unit in reversed(units[-10:])]


def test_shares_that_moved_by_more_than_a_tenth_are_named_the_largest_first(traffic: Any) -> None:
    before = Composition({"model": {"m 1": 0.9, "m 2": 0.1}, "attribute region": {"eu": 0.5, "us": 0.5}})
    units = window(traffic, 20, 0)
    now = [
        replace(unit, fields={"model": "m 2", "attribute region": "eu" if i % 2 else "us", "language": "de"})
        for i, unit in enumerate(units)
    ]
    found = [(shift.field, shift.value, shift.share_before, shift.share_now) for shift in shifts_of(before, now)]
    assert found == [("language", "de", 0.0, 1.0), ("model", "m 1", 0.9, 0.0), ("model", "m 2", 0.1, 1.0)]
    assert shifts_of(Composition.of(now), now) == []


@pytest.mark.parametrize(("sign", "side"), [(1, "high"), (-1, "low")])
def test_where_the_mean_hides_the_change_the_share_of_extreme_values_shows_it(sign: int, side: str) -> None:
    random = np.random.default_rng(0)
    detector = RankDetector(rank.fit(random.normal(size=UNITS)), "both")
    values = sign * np.concatenate([random.normal(-0.75, 0.3, size=48), random.normal(3.0, 0.3, size=12)])
    assert abs(values.mean()) < 0.2
    units = [Unit(str(i), float(i), "test", {}, {"latency_ms": float(value)}, {}) for i, value in enumerate(values)]
    fitted = Reference("r", "shop", "test", 0.0, 1.0, (), {"latency_ms": detector}, {}, {}, Composition({}), {})
    alarm = Alarm(index=59, position=60, lane="rank", evidence=1.0, threshold=1e-5, age=60)
    effect, share = effect_of(fitted, "latency_ms", alarm, units)
    assert effect.quantity == f"share of {side} values of latency_ms"
    assert effect.before == pytest.approx(0.05, abs=0.01)
    assert effect.now == pytest.approx(0.2)
    assert effect.low is not None
    assert effect.low > effect.before
    assert share == pytest.approx(effect.now - effect.before)
