"""The detector of a signal: what its bets may gain, what it finds, what it shrugs off."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.drift import Alarm, Batch, ReferenceRefused, rank, to_arrays
from detectors.drift.bets import Tails, payoffs
from detectors.drift.rank import BURN, RankDetector, RankReference, RankState

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]
STAKE = 1e-9  # so little that no capital reaches a page


def rate(share: float) -> Draw:
    return lambda random, n: (random.random(n) < share) / 1.0


def normal(mean: float = 0.0, deviation: float = 1.0) -> Draw:
    return lambda random, n: random.normal(mean, deviation, n)


def few(share: float) -> Draw:
    return lambda random, n: random.binomial(3, share, n) / 1.0


def outliers(share: float) -> Draw:
    return lambda random, n: np.where(random.random(n) < share, 6 + random.random(n), random.normal(size=n))


def mostly_zero(share: float) -> Draw:
    return lambda random, n: np.where(random.random(n) < share, 0.0, random.random(n))


LAWS: dict[str, tuple[Draw, Tails]] = {
    "numbers": (normal(), "both"),
    "numbers, harm is up": (normal(), "up"),
    "numbers, harm is down": (normal(), "down"),
    "few values": (few(0.2), "both"),
    "mostly zero": (mostly_zero(0.95), "both"),
    "a rate of 1 %": (rate(0.01), "up"),
    "a rate of 40 %": (rate(0.4), "both"),
    "one value": (lambda random, n: np.full(n, 3.0), "both"),
}


def fitted(draw: Draw, seed: int = 0, units: int = 2_000) -> RankReference:
    return rank.fit(draw(np.random.default_rng((seed, units)), units), seed=seed)


def batch(values: Values, inflow: float = 1e-5, buckets: NDArray[np.int64] | None = None) -> Batch:
    return Batch(values, np.full(len(values), inflow), np.zeros(len(values)), buckets)


def run(detector: RankDetector, whole: Batch, cuts: list[int]) -> tuple[RankState, list[Alarm]]:
    """The state and the alarms of a batch cut at these places; the alarms' index counts from its beginning."""
    state, alarms = detector.start(), []
    for start, stop in pairwise([0, *sorted(cuts), len(whole)]):
        buckets = None if whole.buckets is None else whole.buckets[start:stop]
        piece = Batch(whole.values[start:stop], whole.inflow[start:stop], whole.uniforms[start:stop], buckets)
        state, found = detector.update(state, piece)
        alarms += [replace(alarm, index=alarm.index + start) for alarm in found]
    return state, alarms


def bits(state: RankState) -> dict[str, tuple[bytes, str]]:
    return {name: (array.tobytes(), array.dtype.str) for name, array in to_arrays(state, "s").items()}


# what bets may gain


def in_bin(reference: RankReference, j: int) -> float:
    """A value of bin j."""
    return float(reference.edges[j]) if j < len(reference.edges) else float(np.nextafter(reference.edges[-1], np.inf))


def average_gain(reference: RankReference, tails: Tails, buckets: list[int], entry: int) -> Values:
    """(bets,) exact expectation of what a stake becomes, over the order of a bag of units.

    The bag holds the calibration part and as many units more as there are `buckets`, which come last; any of them may.
    The stake is put in at unit `entry`.
    """
    bag = reference.counts.copy()
    for bucket in buckets:
        bag[bucket, np.random.default_rng(bucket).choice(np.flatnonzero(bag[bucket]))] += 1
    inflow = np.where(np.arange(len(buckets)) == entry, STAKE, 0.0)
    gain = np.zeros(payoffs(reference.shares, tails).shape[1])
    for bins in itertools.product(*(np.flatnonzero(bag[bucket]) for bucket in buckets)):
        left, chance = bag.copy(), 1.0
        for bucket, j in list(zip(buckets, bins, strict=True))[::-1]:
            chance *= left[bucket, j] / left[bucket].sum()
            left[bucket, j] -= 1
        if chance <= 0:
            continue
        detector = RankDetector(replace(reference, counts=left), tails)
        values = np.array([in_bin(reference, int(j)) for j in bins])
        state, _ = detector.update(detector.start(), Batch(values, inflow, np.zeros(len(bins)), np.array(buckets)))
        gain = gain + chance * state.capital / (STAKE / len(state.capital))
    return gain


@pytest.mark.parametrize("name", LAWS)
def test_every_bet_on_the_next_unit_is_exactly_fair(name: str) -> None:
    draw, tails = LAWS[name]
    for seed in range(3):
        assert average_gain(fitted(draw, seed), tails, [0], entry=0) == pytest.approx(1, rel=1e-7)


@pytest.mark.parametrize("name", ["few values", "a rate of 1 %", "a rate of 40 %"])
@pytest.mark.parametrize("entry", [0, 1])
def test_bets_on_several_units_are_exactly_fair_whenever_they_are_made(name: str, entry: int) -> None:
    draw, tails = LAWS[name]
    assert average_gain(fitted(draw), tails, [0, 0, 0], entry) == pytest.approx(1, rel=1e-7)


def test_bets_on_units_of_several_buckets_are_exactly_fair() -> None:
    random = np.random.default_rng(0)
    buckets = np.arange(3_000) % 2
    reference = rank.fit((random.random(3_000) < np.array([0.05, 0.3])[buckets]) / 1.0, buckets=buckets)
    assert average_gain(reference, "both", [0, 1, 1, 0], entry=0) == pytest.approx(1, rel=1e-7)


@pytest.mark.parametrize("name", ["numbers", "mostly zero", "a rate of 40 %"])
def test_false_pages_stay_within_the_budget_over_references(name: str) -> None:
    """Stopping at a page is the one thing whose price has no proof for every law; here it is measured."""
    draw, tails = LAWS[name]
    units_per_page, streams, units, pages = 2_500, 150, 1_000, 0
    for seed in range(streams):
        random = np.random.default_rng((seed, 5))
        detector = RankDetector(fitted(draw, seed), tails)
        values, state, at = draw(random, units), detector.start(), 0
        while at < units:
            state, alarms = detector.update(state, batch(values[at : at + 500], 1 / units_per_page))
            at += alarms[0].index + 1 if alarms else 500
            state = detector.start() if alarms else state
            pages += len(alarms)
    assert pages > 5, "a test that sees no page proves nothing"
    assert pages + 2 * math.sqrt(pages) < streams * units / units_per_page


@pytest.mark.parametrize("tails", ["up", "down", "both"])
@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5], [0.001, 0.949, 0.05], [0.4, 0.0, 0.6, 0.0], [1 / 700] * 700])
def test_each_bet_is_a_density_over_the_reference(tails: Tails, shares: list[float]) -> None:
    pays = payoffs(np.array(shares), tails)
    assert (pays >= 0).all() and np.array(shares) @ pays == pytest.approx(1, abs=1e-9)


def test_bets_on_one_side_pay_more_the_farther_a_value_lies_there() -> None:
    assert (np.diff(payoffs(np.full(50, 0.02), "up"), axis=0) >= 0).all()
    assert (np.diff(payoffs(np.full(50, 0.02), "down"), axis=0) <= 0).all()


# what is found


@pytest.mark.parametrize(
    ("before", "after", "tails", "limit"),
    [
        (rate(0.01), rate(0.03), "up", 900),
        (rate(0.05), rate(0.15), "up", 170),
        (rate(0.2), rate(0.35), "up", 200),
        (rate(0.5), rate(0.35), "both", 270),
        (normal(), normal(0.25), "both", 400),
        (normal(), normal(0.5), "both", 110),
        (normal(), normal(0.0, 1.3), "both", 180),
        (normal(), normal(0.0, 0.7), "both", 140),
        (normal(), outliers(0.05), "both", 120),
        (few(0.2), few(0.257), "both", 480),
    ],
)
def test_a_change_is_found_in_about_the_measured_time(before: Draw, after: Draw, tails: Tails, limit: int) -> None:
    delays = []
    for seed in range(12):
        random = np.random.default_rng((seed, 9))
        detector = RankDetector(fitted(before, seed, 2_500), tails)
        state, false = detector.update(detector.start(), batch(before(random, 500)))
        _, alarms = detector.update(state, batch(after(random, 6 * limit)))
        delays += [] if false else [alarms[0].index + 1 if alarms else 6 * limit]
    assert len(delays) >= 11
    assert np.mean(delays) < 1.5 * limit and np.median(delays) < limit


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [(rate(0.1), rate(0.3), 0.2), (normal(50, 4), normal(54, 4), 1.0), (normal(50, 4), normal(46, 4), 1.0)],
)
def test_a_page_says_how_large_the_change_is_and_when_it_began(before: Draw, after: Draw, effect: float) -> None:
    effects, misses = [], []
    for seed in range(20):
        random = np.random.default_rng((seed, 11))
        detector = RankDetector(fitted(before, seed))
        state, _ = detector.update(detector.start(), batch(before(random, 1_000)))
        _, (alarm,) = detector.update(state, batch(after(random, 500)))
        effects.append(alarm.effect)
        misses.append(alarm.age - (alarm.index + 1))
    assert np.mean(effects) == pytest.approx(effect, rel=0.2)
    assert abs(np.median(misses)) < 15


def test_a_bucket_is_compared_with_itself() -> None:
    """Nights are rude and days are not: more nights are no change, rude days are."""
    random = np.random.default_rng(3)

    def traffic(nights: float, day_rate: float, n: int) -> tuple[Values, NDArray[np.int64]]:
        night = random.random(n) < nights
        return (random.random(n) < np.where(night, 0.4, day_rate)) / 1.0, night.astype(np.int64)

    values, night = traffic(0.3, 0.02, 4_000)
    by_hour, blind = RankDetector(rank.fit(values, buckets=night), "up"), RankDetector(rank.fit(values), "up")
    more_nights, night = traffic(0.9, 0.02, 2_000)
    state, alarms = by_hour.update(by_hour.start(), batch(more_nights, buckets=night))
    assert alarms == []
    assert len(blind.update(blind.start(), batch(more_nights))[1]) == 1
    rude_days, night = traffic(0.9, 0.4, 2_000)
    assert len(by_hour.update(state, batch(rude_days, buckets=night))[1]) == 1


def test_the_effect_is_measured_against_the_mean_of_each_bucket() -> None:
    random = np.random.default_rng(5)
    place = np.array([0.0, 20.0])
    buckets = random.integers(0, 2, 5_000)
    detector = RankDetector(rank.fit(place[buckets] + random.normal(size=5_000), buckets=buckets))
    nights = (random.random(500) < 0.9).astype(np.int64)
    _, (alarm,) = detector.update(detector.start(), batch(place[nights] + random.normal(2, 1, 500), buckets=nights))
    assert alarm.effect * detector.reference.deviation == pytest.approx(2, rel=0.3)


# what is too small


@pytest.mark.parametrize(
    ("before", "small", "large", "least"),
    [(rate(0.05), rate(0.09), rate(0.3), 0.1), (normal(9, 2), normal(9.4, 2), normal(11, 2), 0.6)],
)
def test_a_small_change_holds_its_evidence_back_until_it_grows(
    before: Draw, small: Draw, large: Draw, least: float
) -> None:
    random = np.random.default_rng(4)
    detector = RankDetector(fitted(before, units=5_000), "up", least_effect=least)
    values = small(random, 2_000)
    assert len(run(replace(detector, least_effect=0.0), batch(values), [])[1]) == 1, (
        "it pages where every change counts"
    )
    state, shown = detector.start(), []
    for part in np.split(values, 20):
        state, alarms = detector.update(state, batch(part))
        shown.append(detector.read(state))
        assert alarms == [] and not state.latched and state.capital.sum() <= 1 + 1e-9
    assert max(shown) > 0.5
    _, (alarm,) = detector.update(state, batch(large(random, 1_000)))
    assert alarm.effect >= least and alarm.evidence >= 1


def test_a_change_that_was_small_for_long_is_found_soon_once_it_grows() -> None:
    random = np.random.default_rng(2)
    detector = RankDetector(fitted(rate(0.05), units=20_000), "up", least_effect=0.1)
    state, alarms = detector.update(detector.start(), batch(rate(0.1)(random, 4_000)))
    assert alarms == [] and detector.read(state) > 0.5
    _, (alarm,) = detector.update(state, batch(rate(0.3)(random, 2_000)))
    assert alarm.index < 200 and alarm.age < 800


def test_a_large_change_pages_as_soon_as_without_a_least_effect() -> None:
    random = np.random.default_rng(6)
    detector = RankDetector(fitted(rate(0.05)), "up")
    whole = batch(np.concatenate([rate(0.05)(random, 500), rate(0.4)(random, 500)]))
    (without,), (with_least,) = (run(replace(detector, least_effect=least), whole, [])[1] for least in (0.0, 0.1))
    assert without == with_least


# what holds whatever comes


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 900), max_size=10),
    buckets=st.integers(1, 4),
    least=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_cutting_a_batch_anywhere_changes_not_a_bit(cuts: list[int], buckets: int, least: float, seed: int) -> None:
    """Through evidence held back, a page, and what follows it, over any number of buckets."""
    random = np.random.default_rng(seed)
    values = np.concatenate([random.normal(size=300), random.normal(0.4, 1, 300), random.normal(2, 1, 300)])
    reference = rank.fit(random.normal(size=2_500), buckets=random.integers(0, buckets, 2_500))
    whole = batch(values, 1e-3, random.integers(0, len(reference.counts), 900))
    detector = RankDetector(reference, least_effect=least)
    state, alarms = run(detector, whole, [])
    pieces, same_alarms = run(detector, whole, cuts)
    assert bits(state) == bits(pieces)
    assert alarms == same_alarms and len(alarms) == 1


numbers = st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, -1.0, 5e-324, 1.7976931348623157e308, -1e308]))


@settings(max_examples=80, deadline=None)
@given(
    known=st.lists(numbers.filter(math.isfinite), min_size=1, max_size=40),
    values=st.lists(numbers, max_size=60),
    inflow=st.floats(0, 10),
    tails=st.sampled_from(["up", "down", "both"]),
)
def test_no_number_upsets_the_state(known: list[float], values: list[float], inflow: float, tails: Tails) -> None:
    reference = rank.fit(np.resize(np.array(known), 2_000))
    assert all(np.isfinite(array[1:]).all() for array in to_arrays(reference, "r").values() if array.ndim == 1)
    detector = RankDetector(reference, tails)
    state, alarms = detector.update(detector.start(), batch(np.array(values, np.float64), inflow))
    assert all(np.isfinite(array).all() for array in to_arrays(state, "s").values())
    assert (state.capital >= 0).all() and 0 <= detector.read(state) <= 1
    assert all(math.isfinite(alarm.effect) for alarm in alarms)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -7.25, 1e300])
@pytest.mark.parametrize("units_per_page", [1e2, 1e3, 1e5])
def test_a_signal_of_one_value_never_pages_while_it_stays(value: float, units_per_page: float) -> None:
    detector = RankDetector(rank.fit(np.full(2_000, value)))
    state, alarms = detector.update(detector.start(), batch(np.full(20_000, value), 1 / units_per_page))
    assert alarms == [] and detector.read(state) <= 0.1


def test_a_signal_that_was_nearly_constant_pages_when_it_is_not() -> None:
    values = np.zeros(2_000)
    values[:2] = 1
    detector = RankDetector(rank.fit(values), "up")
    state, alarms = detector.update(detector.start(), batch(np.tile(values, 5)))
    assert alarms == []
    assert len(detector.update(state, batch(rate(0.1)(np.random.default_rng(0), 300)))[1]) == 1


@pytest.mark.parametrize("kind", [np.bool_, np.int8, np.uint64, np.float32])
def test_numbers_of_any_kind_are_read_as_what_they_are(kind: type[np.generic]) -> None:
    detector = RankDetector(fitted(rate(0.2)))
    values = rate(0.2)(np.random.default_rng(1), 300)
    assert bits(run(detector, batch(values.astype(kind)), [])[0]) == bits(run(detector, batch(values), [])[0])


def test_values_that_are_missing_bring_nothing_and_take_nothing() -> None:
    detector = RankDetector(fitted(normal()))
    start = detector.start()
    for values in (np.full(500, np.nan), np.full(500, np.inf), np.empty(0)):
        state, alarms = detector.update(start, batch(values, inflow=1.0))
        assert alarms == [] and bits(state) == bits(start)


def test_inflow_is_shared_out_in_full_and_burns_slowly() -> None:
    """All bets together hold what came in, less ten times the inflow a unit."""
    detector = RankDetector(rank.fit(np.full(2_000, 7.0)))
    state, _ = detector.update(detector.start(), batch(np.full(1, 7.0), 1e-3))
    assert state.capital.sum() == pytest.approx(1e-3 * (1 - BURN * 1e-3), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_streams_that_share_an_inflow_hold_together_what_one_stream_would(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    values, inflow = random.normal(size=50), STAKE * random.random(50)
    detector = RankDetector(fitted(normal()))

    def capital(part: Values) -> Values:
        return detector.update(detector.start(), Batch(values, part, np.zeros(50)))[0].capital

    assert capital(share * inflow) + capital((1 - share) * inflow) == pytest.approx(capital(inflow), rel=1e-6)


def test_a_bucket_that_the_reference_does_not_have_is_an_error() -> None:
    random = np.random.default_rng(0)
    detector = RankDetector(rank.fit(random.normal(size=3_000), buckets=random.integers(0, 3, 3_000)))
    for wrong in (-1, 3):
        with pytest.raises(
            ValueError, match=f"buckets from {min(wrong, 0)} to {max(wrong, 0)}: the reference has 0 to 2"
        ):
            detector.update(detector.start(), batch(np.zeros(2), buckets=np.array([0, wrong])))


def test_a_bucket_without_a_value_learns_from_the_stream() -> None:
    values, buckets = np.random.default_rng(0).normal(size=4_000), np.arange(4_000) % 2
    values[buckets == 1] = np.nan
    detector = RankDetector(rank.fit(values, buckets=buckets))
    fresh = np.random.default_rng(1).normal(size=2_000)
    state, alarms = detector.update(detector.start(), batch(fresh, buckets=np.ones(2_000, np.int64)))
    assert alarms == [] and state.seen.tolist() == [1_400, 2_000]


def test_a_state_is_small() -> None:
    detector = RankDetector(fitted(normal()))
    assert sum(array.nbytes for array in to_arrays(detector.start(), "s").values()) < 500


def test_too_few_numbers_are_refused() -> None:
    with pytest.raises(ReferenceRefused, match="2000 finite values at least, there are 1999"):
        rank.fit(np.r_[np.arange(1_999.0), np.nan, np.inf])
    with pytest.raises(ReferenceRefused, match="there are 0"):
        rank.fit(np.full(5_000, np.nan))


def test_a_bucket_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0, not from -1"):
        rank.fit(np.arange(2_000.0), buckets=np.arange(-1, 1_999))


def test_a_reference_knows_a_rate_from_a_number() -> None:
    assert fitted(rate(0.3)).rate == fitted(rate(0.3)).mean == pytest.approx(0.3, abs=0.05)
    assert fitted(normal()).rate == fitted(few(0.2)).rate == -1
    assert fitted(lambda random, n: np.zeros(n)).rate == 0
