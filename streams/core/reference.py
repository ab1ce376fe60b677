"""The reference of an application or a segment: accepted traffic, fitted once for every stream that is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Float32Array, FloatArray, IntArray, from_arrays, to_arrays
from detectors.drift.cycle import Cycle
from detectors.drift.given import Given
from detectors.drift.rank import RankDetector, RankReference
from detectors.drift.reference import VectorReference
from detectors.drift.vectors import VectorDetector
from streams.core.answers import Answers
from streams.core.archive import Arrays, pack, unpack
from streams.core.columns import Columns, Rows
from streams.core.units import GIVEN, SIDES, Unit

VERSION = 2
PARTS = {"given": Given, "answers": Answers, "cycle": Cycle}
"""What a reference may have besides its detectors."""

VALUES_OF_A_FIELD = 50
PLAIN = (
    *("reference_id", "application", "segment", "encoder", "dimensions", "first_at", "last_at", "members"),
    *("ordinary", "refused", "run_id"),
)

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
    """What the streams of an application or a segment are compared with.

    Attributes:
        reference_id: deterministic: from the application, the segment and the last member.
        application: whose traffic it is.
        encoder: fingerprint of the vectors.
        first_at, last_at: seconds since 1970 of its earliest and latest unit.
        members: ids of its interactions, in order.
        detectors: stream name to detector, as fitted; a least effect is not part of a reference.
        ordinary: stream name to ids of typical members, shown beside a page's exemplars.
        samples: vector stream to (256, d) features of members, for effect sizes.
        composition: shares of models, templates and attributes.
        refused: streams that could not be fitted, and why.
        run_id: the retraining run that it was proposed after, or "".
        segment: the part of the application's traffic that it is of, "" for all.
        dimensions: of the vectors.
        given: what predicts a response from its prompt, where that could be fitted.
        answers: how its prompts were answered, likewise.
        cycle: hours that are compared with their like only; None if the reference is too small to tell them apart.
    """

    reference_id: str
    application: str
    encoder: str
    first_at: float
    last_at: float
    members: tuple[str, ...]
    detectors: dict[str, StreamDetector]
    ordinary: dict[str, tuple[str, ...]]
    samples: dict[str, Float32Array]
    composition: Composition
    refused: dict[str, str]
    run_id: str = ""
    segment: str = ""
    dimensions: int = 0
    given: Given | None = None
    answers: Answers | None = None
    cycle: Cycle | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that are watched."""
        return tuple(self.detectors)

    def values(self, stream: str, columns: Columns, rows: Rows) -> NDArray[np.floating[Any]]:
        """(n, d) vectors or (n,) numbers of a stream for n rows; NaN where a unit does not count: detectors skip it."""
        if stream in SIDES:
            return columns.vectors(stream, self.encoder, self.dimensions)[rows]
        if stream == GIVEN:
            assert self.given is not None
            prompts, responses = (columns.vectors(side, self.encoder, self.dimensions)[rows] for side in SIDES)
            return self.given.residual(prompts, responses)
        return columns.signal(stream)[rows]

    def places(self, seconds: FloatArray) -> IntArray | None:
        """(n,) places in the traffic's cycle of (n,) times; None if there is one place."""
        return self.cycle.bucket(seconds) if self.cycle is not None else None


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
    parts = {name: part for name in PARTS if (part := getattr(reference, name)) is not None}
    for name, part in parts.items():
        arrays |= to_arrays(part, name)
    plain = {name: getattr(reference, name) for name in PLAIN}
    plain |= {
        "streams": reference.streams,
        "parts": list(parts),
        "tails": tails,
        "composition": reference.composition.shares,
    }
    return pack(VERSION, plain, arrays)


def load(data: bytes) -> Reference:
    """The inverse of `dump`.

    Raises:
        Outdated: written by another version of the program.
    """
    plain, arrays = unpack(VERSION, data, "the reference")
    detectors: dict[str, StreamDetector] = {}
    for name in plain["streams"]:
        if name in plain["tails"]:
            detectors[name] = RankDetector(from_arrays(RankReference, arrays, name), plain["tails"][name])
        else:
            fitted = from_arrays(VectorReference, arrays, name)
            detectors[name] = VectorDetector(fitted, arrays[f"{name}/units_per_page"].item())
    as_stored = {name: plain[name] for name in PLAIN} | {
        "members": tuple(plain["members"]),
        "ordinary": {name: tuple(ids) for name, ids in plain["ordinary"].items()},
    }
    return Reference(
        **as_stored,
        detectors=detectors,
        **{name: from_arrays(PARTS[name], arrays, name) for name in plain["parts"]},
        samples={name: arrays[f"{name}/sample"] for name in detectors if f"{name}/sample" in arrays},
        composition=Composition(plain["composition"]),
    )
