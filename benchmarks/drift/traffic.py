"""Traffic in which nothing changes: a reference and the stream that follows it, both of one law.

Everything is drawn with replacement: without, reference and stream would share the pool's sampling error and flatter
the result. Only the real conversations are what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift import texts
from detectors.drift import Float32Array, IntArray
from detectors.drift.cycle import Cycle
from detectors.drift.usable import usable
from streams.core.units import Repeats, Sessions, Unit

USERS = 20
BURST, BURST_EVERY = 30, 300
UNITS_A_DAY = 2_500
DAY_SECONDS = 86_400.0
SWINGING = ("travel", "banking")
SHARE, SWING = 0.2, 0.1

Sets = Mapping[str, Float32Array]


@dataclass(frozen=True)
class Drawn:
    """A reference and the units after it, with their places in the cycle of the traffic if it has one."""

    reference: Float32Array
    stream: Float32Array
    reference_buckets: IntArray | None = None
    buckets: IntArray | None = None


Law = Callable[[Sets, np.random.Generator, int, int], Drawn]


def independent(sets: Sets, random: np.random.Generator, units: int, length: int, pool: str = "assistant") -> Drawn:
    """Each unit by itself."""
    vectors = sets[pool]
    return _split(vectors[random.integers(len(vectors), size=units + length)], units)


def _split(vectors: Float32Array, units: int) -> Drawn:
    return Drawn(vectors[:units], vectors[units:])


def _turns(random: np.random.Generator, users: int) -> Iterator[tuple[str, int]]:
    """Session and row of each turn, as so many users take turns at random; who is through begins another session."""
    told, fresh = texts.sessions(), count()
    left: list[tuple[str, Iterator[int]]] = [("", iter(()))] * users
    while True:
        user = int(random.integers(users))
        session, rows = left[user]
        row = next(rows, None)
        if row is None:
            left[user] = (str(next(fresh)), iter(told[int(random.integers(len(told)))].tolist()))
        else:
            yield session, row


def _sessions(users: int, every_turn: bool = False) -> Law:
    def law(sets: Sets, random: np.random.Generator, units: int, length: int) -> Drawn:
        known = Sessions()
        rows = (row for session, row in _turns(random, users) if every_turn or known.first(session))
        return _split(sets["turns"][np.fromiter(islice(rows, units + length), np.int64)], units)

    return law


def _unit(vector: Float32Array) -> Unit:
    return Unit("", 0.0, "", {"prompt": vector}, {}, {})


def _retried(sets: Sets, random: np.random.Generator) -> Iterator[Float32Array]:
    vectors = sets["assistant"]
    while True:
        vector = vectors[random.integers(len(vectors))]
        for _ in range(BURST if random.random() < 1 / BURST_EVERY else 1):
            yield vector


def _retries(without_repeats: bool) -> Law:
    def law(sets: Sets, random: np.random.Generator, units: int, length: int) -> Drawn:
        repeats = Repeats()
        kept = (x for x in _retried(sets, random) if not (without_repeats and repeats.seen(_unit(x), "prompt")))
        return _split(np.array(list(islice(kept, units + length))), units)

    return law


def _seasonal(in_buckets: bool) -> Law:
    """The shares of two topics swing against each other, a day long; the reference spans several days."""

    def law(sets: Sets, random: np.random.Generator, units: int, length: int) -> Drawn:
        seconds = np.arange(units + length, dtype=np.float64) * (DAY_SECONDS / UNITS_A_DAY)
        swing = SWING * np.sin(2 * np.pi * seconds / DAY_SECONDS)
        shares = np.stack([SHARE + swing, SHARE - swing], axis=1)
        topic = random.random(len(seconds))[:, None] > np.cumsum(shares, axis=1)
        domains = texts.domains()
        pools = [*(np.flatnonzero(domains == name) for name in SWINGING), np.flatnonzero(~np.isin(domains, SWINGING))]
        rows = _pick(random, pools, topic.sum(axis=1))
        drawn = _split(sets["assistant"][rows], units)
        if not in_buckets:
            return drawn
        cycle = Cycle.fit(seconds[:units])
        return Drawn(drawn.reference, drawn.stream, cycle.bucket(seconds[:units]), cycle.bucket(seconds[units:]))

    return law


def _pick(random: np.random.Generator, pools: list[NDArray[np.intp]], which: NDArray[np.int_]) -> NDArray[np.intp]:
    rows = np.empty(len(which), np.intp)
    for i, pool in enumerate(pools):
        rows[which == i] = pool[random.integers(len(pool), size=int((which == i).sum()))]
    return rows


def _conversations(shuffled: bool) -> Law:
    """All there are, whatever length is asked for."""

    def law(sets: Sets, random: np.random.Generator, units: int, length: int) -> Drawn:
        told, repeats = sets["conversations"], Repeats()
        told = told[usable(told)]  # some have no words
        order = random.permutation(len(told)) if shuffled else np.arange(len(told))
        kept = [i for i in order if not repeats.seen(_unit(told[i]), "prompt")]
        return _split(told[kept], units)

    return law


LAWS: dict[str, Law] = {
    "independent": independent,
    "independent, few texts": partial(independent, pool="few"),
    "sessions": _sessions(1),
    f"{USERS} users interleaved": _sessions(USERS),
    "every turn a unit": _sessions(1, every_turn=True),
    "retry bursts": _retries(without_repeats=True),
    "retry bursts, repeats counted": _retries(without_repeats=False),
    "day and night": _seasonal(in_buckets=True),
    "day and night, no buckets": _seasonal(in_buckets=False),
    "conversations shuffled": _conversations(shuffled=True),
    "conversations in order": _conversations(shuffled=False),
}
