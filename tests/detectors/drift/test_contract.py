"""What every detector keeps, whatever it watches."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.drift import Alarm, Batch, ReferenceRefused, from_arrays, rank, reference, to_arrays
from detectors.drift.rank import RankDetector

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BEFORE, AFTER = 40, 140


def part(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(batch.values[start:stop], batch.inflow[start:stop], batch.uniforms[start:stop])


def run(detector: Any, batch: Batch, cuts: list[int], state: Any = None) -> tuple[Any, list[Alarm]]:
    """The state and the alarms of a batch cut at these places; the alarms' index counts from its beginning."""
    state, alarms = detector.start() if state is None else state, []
    edges = [0, *sorted(cuts), len(batch)]
    for start, stop in pairwise(edges):
        state, found = detector.update(state, part(batch, start, stop))
        alarms += [replace(alarm, index=alarm.index + start) for alarm in found]
    return state, alarms


def capital_of(state: Any) -> Any:
    return state.book[0] if hasattr(state, "book") else state.capital


def assert_same(one: Any, other: Any) -> None:
    left, right = to_arrays(one, "s"), to_arrays(other, "s")
    assert {name: array.tobytes() for name, array in left.items()} == {n: a.tobytes() for n, a in right.items()}
    assert {name: array.dtype for name, array in left.items()} == {n: a.dtype for n, a in right.items()}


def test_a_change_pages_once_and_soon(case: Any) -> None:
    state, alarms = run(case.detector, case.drifting(200, 400), [])
    assert len(alarms) == 1
    assert alarms[0].index >= 200
    assert state.latched and 0 < case.detector.read(state) <= 1
    assert alarms[0].evidence >= 1 and 1 <= alarms[0].age <= alarms[0].position == alarms[0].index + 1


def test_a_fresh_stream_holds_no_evidence(case: Any) -> None:
    assert case.detector.read(case.detector.start()) == 0


@few
@given(cuts=st.lists(st.integers(0, BEFORE + AFTER), max_size=12))
def test_cutting_a_batch_anywhere_changes_not_a_bit(case: Any, cuts: list[int]) -> None:
    batch = case.drifting(BEFORE, AFTER, inflow=1e-3)
    whole, alarms = run(case.detector, batch, [])
    pieces, same_alarms = run(case.detector, batch, cuts)
    assert_same(whole, pieces)
    assert alarms == same_alarms and len(alarms) == 1


def test_units_one_by_one_change_not_a_bit(case: Any) -> None:
    batch = case.drifting(BEFORE, AFTER, inflow=1e-3)
    assert_same(run(case.detector, batch, list(range(len(batch))))[0], run(case.detector, batch, [])[0])


@few
@given(cut=st.integers(0, BEFORE + AFTER))
def test_a_stored_state_goes_on_where_it_stood(case: Any, cut: int) -> None:
    batch = case.drifting(BEFORE, AFTER, inflow=1e-3)
    state, _ = case.detector.update(case.detector.start(), part(batch, 0, cut))
    stored = io.BytesIO()
    np.savez(stored, **to_arrays(state, "stream"))  # type: ignore[arg-type]
    with np.load(io.BytesIO(stored.getvalue())) as archive:
        restored = from_arrays(case.state, dict(archive), "stream")
    assert_same(state, restored)
    rest = part(batch, cut, len(batch))
    assert_same(case.detector.update(restored, rest)[0], case.detector.update(state, rest)[0])


@few
@given(seed=st.integers(0, 2**32 - 1), inflow=st.floats(0, 0.01), scale=st.sampled_from([0.0, 1e-30, 0.5, 3.0, 1e30]))
def test_capital_is_never_negative_nor_evidence_outside_of_0_and_1(
    case: Any, seed: int, inflow: float, scale: float
) -> None:
    random = np.random.default_rng(seed)
    values = case.ordinary(random, 60)
    values[random.random(60) < 0.3] *= scale
    state, _ = case.detector.update(case.detector.start(), case.batch(values, inflow, seed))
    for array in to_arrays(state, "state").values():
        assert np.isfinite(array).all()
    assert (capital_of(state) >= 0).all()
    assert 0 <= case.detector.read(state) <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_skipped_as_if_it_had_not_come(case: Any, bad: float) -> None:
    random = np.random.default_rng(5)
    values = case.ordinary(random, 50)
    spoiled = np.insert(values, [0, 10, 10, 49, 50], bad, axis=0)
    uniforms, kept = random.random(len(spoiled)), np.isfinite(spoiled.reshape(len(spoiled), -1)).all(axis=1)
    dirty = Batch(spoiled, np.full(len(spoiled), 1e-3), uniforms)
    clean = Batch(spoiled[kept], dirty.inflow[kept], uniforms[kept])
    assert_same(
        case.detector.update(case.detector.start(), dirty)[0], case.detector.update(case.detector.start(), clean)[0]
    )


def test_nothing_but_bad_rows_never_pages_and_leaves_the_state_alone(case: Any) -> None:
    values = np.full_like(case.ordinary(np.random.default_rng(0), 500), np.nan)
    state, alarms = case.detector.update(case.detector.start(), case.batch(values, inflow=1.0))
    assert alarms == []
    assert_same(state, case.detector.start())


@pytest.mark.parametrize("scale", [0.0, 1e-8, 3.0, 1e18, 1e30, 3e38])
def test_vectors_that_are_not_of_unit_length_are_skipped(vector_case: Any, scale: float) -> None:
    with np.errstate(over="ignore"):
        values = vector_case.ordinary(np.random.default_rng(0), 200) * np.float32(scale)
    state, alarms = vector_case.detector.update(vector_case.detector.start(), vector_case.batch(values, inflow=1.0))
    assert alarms == []
    assert_same(state, vector_case.detector.start())


def test_an_empty_batch_changes_nothing(case: Any) -> None:
    state, _ = case.detector.update(case.detector.start(), case.drifting(30, 0))
    after, alarms = case.detector.update(state, case.drifting(0, 0))
    assert alarms == []
    assert_same(after, state)


@pytest.mark.parametrize("value", [0.0, 1.0, -7.25, 1e300])
def test_a_signal_of_one_value_is_calm_while_it_stays_and_pages_when_it_moves(value: float) -> None:
    fitted = rank.fit(np.full(2_000, value))
    for moved in (np.nextafter(value, np.inf), np.nextafter(value, -np.inf)):
        detector = RankDetector(fitted)
        random = np.random.default_rng(0)
        calm = Batch(np.full(3_000, value), np.full(3_000, 1e-6), random.random(3_000))
        state, alarms = detector.update(detector.start(), calm)
        assert alarms == [] and detector.read(state) < 0.1
        _, alarms = detector.update(state, Batch(np.full(400, moved), np.full(400, 1e-6), random.random(400)))
        assert len(alarms) == 1


def test_the_same_vector_over_and_over_pages_but_leaves_no_nan(vector_case: Any) -> None:
    one = np.repeat(vector_case.ordinary(np.random.default_rng(0), 1), 500, axis=0)
    state, alarms = vector_case.detector.update(vector_case.detector.start(), vector_case.batch(one))
    assert len(alarms) == 1
    assert np.isfinite(state.means).all() and np.isfinite(state.book).all()


def test_a_latched_stream_pages_no_more_and_calm_arms_it_again(case: Any) -> None:
    random = np.random.default_rng(8)
    state, alarms = run(case.detector, case.drifting(0, 500, inflow=1e-3), [])
    assert len(alarms) == 1
    state, alarms = case.detector.update(state, case.batch(case.changed(random, 1_000), inflow=1e-3))
    assert alarms == [] and state.latched
    units = case.detector.reference.units
    state, alarms = case.detector.update(state, case.batch(case.ordinary(random, units // 2), inflow=1e-9))
    assert alarms == [] and state.latched, "half a reference of calm is not enough"
    state, alarms = case.detector.update(state, case.batch(case.ordinary(random, 4 * units), inflow=1e-9))
    assert alarms == [] and not state.latched
    _, alarms = case.detector.update(state, case.batch(case.changed(random, 500), inflow=1e-3))
    assert len(alarms) == 1


def test_no_inflow_no_page(case: Any) -> None:
    state, alarms = run(case.detector, case.drifting(100, 2_000, inflow=0.0), [])
    assert alarms == [] and case.detector.read(state) == 0


def test_a_position_counts_the_units_that_count(case: Any) -> None:
    batch = case.drifting(BEFORE, AFTER, inflow=1e-3)
    spoiled = Batch(np.insert(batch.values, 0, np.nan, axis=0), np.r_[1e-3, batch.inflow], np.r_[0.5, batch.uniforms])
    (plain,), (late,) = (run(case.detector, each, [])[1] for each in (batch, spoiled))
    assert late == replace(plain, index=plain.index + 1)


def test_numbers_that_are_too_few_are_refused() -> None:
    with pytest.raises(ReferenceRefused, match="2000 finite values at least, there are 1999"):
        rank.fit(np.r_[np.arange(1_999.0), np.nan])


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 0.0, 5.0])
def test_a_reference_of_vectors_refuses_a_single_bad_one(ordinary_vectors: Any, spoil: float) -> None:
    vectors = ordinary_vectors(np.random.default_rng(0), 2_000)
    vectors[7] = spoil
    with pytest.raises(ReferenceRefused, match="unit vectors"):
        reference.fit(vectors)


def test_a_reference_of_vectors_refuses_too_few_and_too_much_alike(ordinary_vectors: Any) -> None:
    vectors = ordinary_vectors(np.random.default_rng(0), 2_000)
    with pytest.raises(ReferenceRefused, match="2000 vectors at least, there are 1999"):
        reference.fit(vectors[:1_999])
    with pytest.raises(ReferenceRefused, match="128 distinct vectors at least, there are 127"):
        reference.fit(vectors[np.arange(2_000) % 127])
    with pytest.raises(ReferenceRefused, match="vectors at least"):
        reference.fit(vectors[:, 0])


def test_a_reference_is_the_same_for_the_same_seed(ordinary_vectors: Any) -> None:
    vectors: NDArray[np.float32] = ordinary_vectors(np.random.default_rng(0), 2_000)
    assert_same(reference.fit(vectors, seed=3), reference.fit(vectors, seed=3))


def test_a_stored_reference_judges_bit_for_bit_alike(vector_case: Any) -> None:
    fitted = vector_case.detector.reference
    stored = io.BytesIO()
    np.savez(stored, **to_arrays(fitted, "prompt"))  # type: ignore[arg-type]
    with np.load(io.BytesIO(stored.getvalue())) as archive:
        restored = replace(vector_case.detector, reference=from_arrays(type(fitted), dict(archive), "prompt"))
    batch = vector_case.drifting(BEFORE, AFTER)
    assert_same(run(restored, batch, [])[0], run(vector_case.detector, batch, [])[0])
