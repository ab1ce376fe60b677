"""What a page says: how large the change is, what shows it, which topics moved, what was deployed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Alarm, Float32Array, FloatArray
from detectors.drift.rank import RankDetector
from detectors.drift.vectors import VectorDetector, VectorState
from streams.core.reference import Composition, Reference, StreamDetector
from streams.core.units import GIVEN, Unit, is_judged
from tocsin.messages import ClusterShift, Effect, Exemplar, VersionShift

Z95 = 1.96
EXEMPLARS, LEAST_EXEMPLARS = 10, 3
STRANGE = 0.95
LEAST_WINDOW = 16
LEAST_DIRECTION = 96  # units; the direction of fewer is mostly noise, and the shift along it nothing
SHIFT = 0.1
CLUSTERS = 8
BEYOND_NOISE = 3  # standard deviations by which a cluster's count must differ, of 128 that are looked at


def _mean(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and its 95 % interval."""
    mean, error = (
        float(values.mean()),
        Z95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0,
    )
    return mean, mean - error, mean + error


def _share(successes: int, n: int) -> tuple[float, float, float]:
    """A share and its 95 % interval (Wilson 1927)."""
    p, z2 = successes / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return p, middle - half, middle + half


def _novelty_effect(detector: VectorDetector, vectors: NDArray[np.float32]) -> tuple[Effect, float | None]:
    """Share of units that are stranger than 95 % of the reference; the measure was fixed before the change."""
    strange = detector.reference.strangeness(vectors) > detector.reference.strange_point(1 - STRANGE)
    now, low, high = _share(int(strange.sum()), len(strange))
    quantity = "share of units stranger than 95 % of the reference"
    effect = Effect(quantity=quantity, before=1 - STRANGE, now=now, low=low, high=high, units=len(strange))
    return effect, max(0.0, (now - (1 - STRANGE)) / STRANGE)


def _look_effect(reference: Reference, stream: str, features: NDArray[np.float32]) -> tuple[Effect, float | None]:
    """Mean shift along the direction of change, in standard deviations of the reference.

    The direction is taken from every second unit and the shift from the others, and the other way round: measured on
    the units that chose the direction it would be too large.
    """
    detector = reference.detectors[stream]
    assert isinstance(detector, VectorDetector)
    sample, scores = reference.samples[stream], np.empty(len(features))
    for half in (0, 1):
        direction = features[1 - half :: 2].mean(axis=0) - detector.reference.centre
        known = sample @ direction
        scores[half::2] = (features[half::2] @ direction - known.mean()) / max(float(known.std()), 1e-9)
    now, low, high = _mean(scores)
    quantity = "shift along the direction of change, in standard deviations of the reference"
    effect = Effect(quantity=quantity, before=0.0, now=now, low=low, high=high, units=len(scores))
    share = float((scores > 1.645).mean() - 0.05) / 0.95  # 1.645: the 95 % point of a normal distribution
    return effect, max(0.0, share)


def effect_of(reference: Reference, stream: str, alarm: Alarm, window: Sequence[Unit]) -> tuple[Effect, float | None]:
    """Effect and estimated share of affected traffic, read off the units since the estimated beginning.

    Of vectors that estimate may be too early, and what came before the change would hide it: of all units since then,
    the later half and the last quarter, those tell that show it best. Means of few numbers with a long tail would
    mislead so.
    """
    detector, units = reference.detectors[stream], max(LEAST_WINDOW, alarm.age)
    if isinstance(detector, RankDetector):
        values = [unit.signals[stream] for unit in window[-units:] if stream in unit.signals]
        return _signal_effect(detector, stream, np.array(values))
    novel = alarm.lane == "novelty"
    if not novel:
        # where the beginning is thought to be near, what the look averages over speaks too, since it was armed
        units = max(units, min(alarm.position, max(_scale(alarm.lane) // 2, LEAST_DIRECTION)))
    vectors = np.array([unit.vectors[stream] for unit in window[-units:]], np.float32)
    there = len(vectors)
    spans = [there, *(there // part for part in (2, 4) if there // part >= LEAST_WINDOW)]
    if novel:
        found = [_novelty_effect(detector, vectors[-span:]) for span in spans]
    else:
        features = detector.reference.features(vectors)
        found = [_look_effect(reference, stream, features[-span:]) for span in spans]
    return max(found, key=lambda each: _clarity(each[0]))


def _clarity(effect: Effect) -> float:
    """How many half intervals more than before."""
    half = effect.now - effect.low if effect.low is not None else 0.0
    return (effect.now - effect.before) / max(half, 1e-12)


def _scale(lane: str) -> int:
    """Of a look's lane, such as "look 128"."""
    return int(lane.split()[1])


def _signal_effect(detector: RankDetector, stream: str, values: FloatArray) -> tuple[Effect, float | None]:
    """Rate of a binary signal, else the mean; where its interval hides the change, the share of extreme values."""
    before, share = detector.reference.mean, None
    if detector.reference.rate >= 0:
        quantity = f"rate of {stream}"
        now, low, high = _share(int((values > 0).sum()), len(values))
        share = max(0.0, now - before)
    else:
        quantity = f"mean of {stream}"
        now, low, high = _mean(values)
        if low <= before <= high:
            side, before, extreme = _extreme_values(detector, values)
            quantity = f"share of {side} values of {stream}"
            now, low, high = _share(extreme, len(values))
            share = max(0.0, now - before)
    return Effect(quantity=quantity, before=before, now=now, low=low, high=high, units=len(values)), share


def _extreme_values(detector: RankDetector, values: FloatArray) -> tuple[str, float, int]:
    """The side on which extreme values became more frequent: its name, their share in the reference, how many now."""
    counts = detector.reference.counts.sum(axis=0)
    edges, upto = detector.reference.edges, np.cumsum(counts) / counts.sum()
    top = edges[min(int(np.searchsorted(upto, STRANGE)), len(edges) - 1)]
    bottom = edges[min(int(np.searchsorted(upto, 1 - STRANGE)), len(edges) - 1)]
    high = ("high", 1 - float(upto[np.searchsorted(edges, top)]), int((values > top).sum()))
    low = ("low", float(upto[np.searchsorted(edges, bottom)]), int((values <= bottom).sum()))
    sides = {"up": [high], "down": [low], "both": [high, low]}[detector.tails]
    return max(sides, key=lambda side: (side[2] - side[1] * len(values)) / math.sqrt(max(side[1], 1e-9) * len(values)))


def exemplars_of(
    reference: Reference, stream: str, state: object, alarm: Alarm, window: Sequence[Unit]
) -> list[Exemplar]:
    """The units since the estimated beginning that speak loudest for the change.

    Of novelty no more than there are strange units beyond those that the reference has too: others do not show it.
    """
    detector = reference.detectors[stream]
    units = list(window[-max(LEAST_WINDOW, alarm.age) :])
    if isinstance(detector, RankDetector):
        units = [unit for unit in units if stream in unit.signals]
        values: FloatArray | Float32Array = np.array([unit.signals[stream] for unit in units])
    else:
        values = np.array([unit.vectors[stream] for unit in units], np.float32)
    scores = loudness(detector, state, alarm.lane, values)
    best = np.argsort(-scores, kind="stable")[:EXEMPLARS]
    if alarm.lane == "novelty" and isinstance(detector, VectorDetector):
        strange = int((scores > detector.reference.strange_point(1 - STRANGE)).sum())
        best = best[: max(LEAST_EXEMPLARS, round(strange - (1 - STRANGE) * len(scores)))]
    return [Exemplar(interaction_id=units[i].interaction_id, score=float(scores[i])) for i in best]


def loudness(detector: StreamDetector, state: object, lane: str, values: FloatArray | Float32Array) -> FloatArray:
    """How much each unit speaks for the change that a lane saw.

    Args:
        detector: that paged.
        state: of its stream, after the page.
        lane: of the alarm.
        values: (n,) numbers or (n, d) vectors of the stream, those since the estimated beginning.

    Returns:
        (n,) of a signal its distance from the reference on the side that it went to; of novelty the strangeness; of a
        look the part of the unit along the direction of change.
    """
    if isinstance(detector, RankDetector):
        mean = detector.reference.mean
        return np.asarray((values - mean) * (1 if values.mean() >= mean else -1), np.float64)
    vectors = np.asarray(values, np.float32)
    if lane == "novelty":
        return np.asarray(detector.reference.strangeness(vectors), np.float64)
    assert isinstance(state, VectorState)
    return np.asarray(vectors @ detector.direction(state, _scale(lane)), np.float64)


def clusters_of(reference: Reference, stream: str, since: Sequence[Unit]) -> list[ClusterShift]:
    """The clusters of the reference whose share changed most, with the most typical unit of now in each.

    They are of responses for a stream of responses, of prompts for every other: what people talk of says most about a
    signal too. A count that chance explains is left out, or few units would make 128 clusters look restless.
    """
    side = "response" if stream.partition(".")[0] in ("response", GIVEN) else "prompt"
    detector = reference.detectors.get(side)
    units = [unit for unit in since if is_judged(side, unit, reference.encoder)]
    if not isinstance(detector, VectorDetector) or len(units) < LEAST_WINDOW:
        return []
    known, vectors = detector.reference, np.array([unit.vectors[side] for unit in units], np.float32)
    nearest, strangeness = known.nearest(vectors), known.strangeness(vectors)
    counts, expected = np.bincount(nearest, minlength=len(known.occupancy)), known.occupancy * len(units)
    noise = np.sqrt(expected * (1 + len(units) / known.calibration) + 1)  # of the reference's own count, too
    moved = np.flatnonzero(np.abs(counts - expected) > BEYOND_NOISE * noise)
    largest = moved[np.argsort(-np.abs(counts - expected)[moved], kind="stable")[:CLUSTERS]]
    members = {int(k): np.flatnonzero(nearest == k) for k in largest}
    return [
        ClusterShift(
            cluster=k,
            share_before=float(known.occupancy[k]),
            share_now=float(counts[k]) / len(units),
            interaction_id=units[rows[strangeness[rows].argmin()]].interaction_id if len(rows) else "",
        )
        for k, rows in members.items()
    ]


def shifts_of(before: Composition, window: Sequence[Unit]) -> list[VersionShift]:
    """Models, templates, labels and attributes whose share changed by more than a tenth, the largest first."""
    found = []
    names = set(before.shares) | {name for unit in window for name in unit.fields}
    for name in sorted(names):
        now, known = Counter(unit.fields[name] for unit in window if name in unit.fields), before.shares.get(name, {})
        if now.total() < min(LEAST_WINDOW, len(window)):
            continue  # too few have it to say anything
        for value in sorted(set(now) | set(known)):
            share = now[value] / now.total()
            if abs(share - known.get(value, 0.0)) > SHIFT:
                found.append(VersionShift(field=name, value=value, share_before=known.get(value, 0.0), share_now=share))
    return sorted(found, key=lambda shift: -abs(shift.share_now - shift.share_before))[:EXEMPLARS]
