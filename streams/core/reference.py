"""The reference of an application: accepted traffic, fitted once for every stream that is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from detectors.drift import ReferenceRefused, from_arrays, rank, reference, to_arrays
from detectors.drift.bets import Tails
from detectors.drift.rank import RankDetector, RankReference
from detectors.drift.reference import LEAST_UNITS, VectorReference
from detectors.drift.vectors import VectorDetector
from streams.core.archive import Arrays, pack, unpack
from streams.core.budget import elapsed
from streams.core.units import VECTOR_STREAMS, Unit, is_judged

VERSION = 1
SAMPLE = 256
ORDINARY = 5
VALUES_OF_A_FIELD = 50
PLAIN = (
    "reference_id", "application", "encoder", "first_at", "last_at", "members", "ordinary", "refused", "run_id"
)  # fmt: skip

StreamDetector = VectorDetector | RankDetector


@dataclass(frozen=True)
class Composition:
    """Shares of field values among the units of a reference that have the field: field to value to share."""

    shares: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, units: Sequence[Unit]) -> Composition:
        """Count the most frequent values of every field."""
        counts: dict[str, Counter[str]] = {}
        for unit in units:
            for name, value in unit.fields.items():
                counts.setdefault(name, Counter())[value] += 1
        return cls(
            {
                name: {value: n / counter.total() for value, n in counter.most_common(VALUES_OF_A_FIELD)}
                for name, counter in counts.items()
            }
        )


@dataclass(frozen=True)
class Reference:
    """What an application's streams are compared with.

    Attributes:
        reference_id: deterministic: from the application and the last member.
        application: whose traffic it is.
        encoder: fingerprint of the vectors.
        first_at, last_at: seconds since 1970 of its earliest and latest unit.
        members: ids of its interactions, in order.
        detectors: stream name to detector.
        ordinary: stream name to ids of typical members, shown beside a page's exemplars.
        samples: vector stream to (256, d) features of members, for effect sizes.
        composition: shares of models, templates and attributes.
        refused: streams that could not be fitted, and why.
        run_id: the retraining run that it was proposed after, or "".
    """

    reference_id: str
    application: str
    encoder: str
    first_at: float
    last_at: float
    members: tuple[str, ...]
    detectors: dict[str, StreamDetector]
    ordinary: dict[str, tuple[str, ...]]
    samples: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]]
    composition: Composition
    refused: dict[str, str]
    run_id: str = ""

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that are watched."""
        return tuple(self.detectors)


def make_reference(
    application: str,
    units: Sequence[Unit],
    watched: Mapping[str, Tails],
    pages_per_second: float,
    run_id: str = "",
) -> Reference:
    """Fit every stream of an application.

    Args:
        application: whose.
        units: at least 2,000, in order, all of one encoder.
        watched: signals to watch, and on which side harm lies.
        pages_per_second: the application's share of the budget.
        run_id: the retraining run after which it was collected.

    Raises:
        ReferenceRefused: not a single stream could be fitted.
    """
    reference_id = str(uuid5(NAMESPACE_URL, f"tocsin:reference:{application}:{units[-1].interaction_id}"))
    seed = int(reference_id[:8], 16)
    signals = {name: np.array([unit.signals.get(name, np.nan) for unit in units]) for name in watched}
    present = [name for name, values in signals.items() if np.isfinite(values).sum() >= LEAST_UNITS]
    first, last = min(unit.occurred_at for unit in units), max(unit.occurred_at for unit in units)
    per_unit = pages_per_second * max(_seconds(units), 1.0) / len(units) / (len(VECTOR_STREAMS) + len(present))
    detectors: dict[str, StreamDetector] = {}
    ordinary: dict[str, tuple[str, ...]] = {}
    samples, refused = {}, {}
    for name in VECTOR_STREAMS:
        rows = [i for i, unit in enumerate(units) if is_judged(name, unit, units[-1].encoder)]
        vectors = np.array([units[i].vectors[name] for i in rows], np.float32)
        try:
            fitted = reference.fit(vectors, seed=seed)
        except ReferenceRefused as reason:
            refused[name] = str(reason)
            continue
        detectors[name] = VectorDetector(fitted, 1 / per_unit)
        typical = np.argsort(fitted.strangeness(vectors), kind="stable")[:ORDINARY]
        ordinary[name] = tuple(units[rows[i]].interaction_id for i in typical)
        samples[name] = fitted.features(vectors[:: max(1, len(vectors) // SAMPLE)][:SAMPLE])
    for name in present:
        values = signals[name]
        detectors[name] = RankDetector(rank.fit(values, seed=seed), watched[name])
        typical = np.argsort(np.abs(values - np.nanmedian(values)), kind="stable")[:ORDINARY]
        ordinary[name] = tuple(units[i].interaction_id for i in typical)
    if not detectors:
        raise ReferenceRefused("; ".join(f"{name}: {why}" for name, why in refused.items()))
    return Reference(
        reference_id=reference_id,
        application=application,
        encoder=units[-1].encoder,
        first_at=first,
        last_at=last,
        members=tuple(unit.interaction_id for unit in units),
        detectors=detectors,
        ordinary=ordinary,
        samples=samples,
        composition=Composition.of(units),
        refused=refused,
        run_id=run_id,
    )


def _seconds(units: Sequence[Unit]) -> float:
    """Event time as the budget counts it: nothing for late units, an hour at most for a gap."""
    clock, seconds = units[0].occurred_at, 0.0
    for unit in units:
        seconds += elapsed(clock, unit.occurred_at)
        clock = max(clock, unit.occurred_at)
    return seconds


def dump(reference: Reference) -> bytes:
    """A reference as bytes."""
    arrays: Arrays = {}
    tails = {}
    for name, detector in reference.detectors.items():
        arrays |= to_arrays(detector.reference, name)
        if isinstance(detector, RankDetector):
            tails[name] = detector.tails
        else:
            arrays[f"{name}/units_per_page"] = np.asarray(detector.units_per_page)
            arrays[f"{name}/sample"] = reference.samples[name]
    plain = {name: getattr(reference, name) for name in PLAIN}
    plain |= {"streams": reference.streams, "tails": tails, "composition": reference.composition.shares}
    return pack(VERSION, plain, arrays)


def load(data: bytes) -> Reference:
    """The inverse of `dump`.

    Raises:
        ValueError: written by another version of the program.
    """
    plain, arrays = unpack(VERSION, data, "the reference")
    detectors: dict[str, StreamDetector] = {}
    for name in plain["streams"]:
        if name in plain["tails"]:
            detectors[name] = RankDetector(from_arrays(RankReference, arrays, name), plain["tails"][name])
        else:
            fitted = from_arrays(VectorReference, arrays, name)
            detectors[name] = VectorDetector(fitted, arrays[f"{name}/units_per_page"].item())
    return Reference(
        reference_id=plain["reference_id"],
        application=plain["application"],
        encoder=plain["encoder"],
        first_at=plain["first_at"],
        last_at=plain["last_at"],
        members=tuple(plain["members"]),
        detectors=detectors,
        ordinary={name: tuple(ids) for name, ids in plain["ordinary"].items()},
        samples={name: arrays[f"{name}/sample"] for name in detectors if f"{name}/sample" in arrays},
        composition=Composition(plain["composition"]),
        refused=plain["refused"],
        run_id=plain["run_id"],
    )
