"""Units: what counts once for a detector, out of what services publish."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from detectors.drift.usable import usable
from detectors.encoder.bfloat16 import from_bfloat16
from tocsin.messages import Scored, unpack_vector

SIDES = ("prompt", "response")
GIVEN = "response_given_prompt"
"""What the prompt does not explain of the response (`detectors.drift.given`)."""
VECTOR_STREAMS = (*SIDES, GIVEN)
REPEATS_WITHIN = 256
REPEAT_SIGNALS = {"prompt": "prompt.repeat", "response": "response.repeat"}
"""Watched signals that arise here: 1 where a text repeats one of the last 256. A model that is stuck must page."""

NEAR = 0.98
UNKNOWN = "unknown"  # the label of a text too short to be judged; it says nothing about a change
SESSIONS = 20_000


class Vectors(Mapping[str, NDArray[np.float32]]):
    """Vectors by name, held as the 16 bits that they arrive with: half the memory, and not one bit is lost."""

    __slots__ = ("_bits",)

    def __init__(self, bits: dict[str, NDArray[np.uint16]]) -> None:
        self._bits = bits

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return from_bfloat16(self._bits[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)


@dataclass(frozen=True, eq=False)
class Unit:
    """One interaction as the detectors see it.

    Attributes:
        interaction_id: of the interaction.
        occurred_at: seconds since 1970.
        encoder: fingerprint of what made the vectors.
        vectors: "prompt" and "response" to (d,) float32 unit vector.
        signals: signal name to number.
        fields: what a change may be due to: model, template, labels, attributes; name to value.
    """

    interaction_id: str
    occurred_at: float
    encoder: str
    vectors: Mapping[str, NDArray[np.float32]]
    signals: dict[str, float]
    fields: dict[str, str]

    def with_signals(self, signals: Mapping[str, float]) -> Unit:
        """The same unit with further signals."""
        return replace(self, signals=self.signals | dict(signals))


def to_unit(scored: Scored) -> Unit:
    """A unit out of a message of `tocsin.signals`."""
    packed = {"prompt": scored.prompt_vector, "response": scored.response_vector}
    model, template = scored.model, scored.prompt_template
    return Unit(
        interaction_id=scored.interaction_id,
        occurred_at=_stored(scored.occurred_at).timestamp(),
        encoder=scored.encoder,
        vectors=Vectors({name: np.frombuffer(unpack_vector(text), "<u2") for name, text in packed.items()}),
        signals=scored.signals,
        fields=fields_of(
            scored.attributes,
            scored.labels,
            (model.name, model.version or "") if model else ("", ""),
            (template.name, template.version or "") if template else ("", ""),
        ),
    )


def _stored(moment: datetime) -> datetime:
    """To the millisecond, as the table keeps it: a unit that is read again after a restart must be the same."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def fields_of(
    attributes: Mapping[str, str], labels: Mapping[str, str], model: tuple[str, str], template: tuple[str, str]
) -> dict[str, str]:
    """What a change may be due to: attributes, labels (such as the language), model and template with version."""
    named = {"model": " ".join(part for part in model if part), "template": " ".join(part for part in template if part)}
    return (
        {f"attribute {name}": value for name, value in attributes.items()}
        | {name: value for name, value in labels.items() if value != UNKNOWN}
        | {name: value for name, value in named.items() if value}
    )


def _counts(side: str, unit: Unit, encoder: str) -> bool:
    """Whether a unit's vector is of the encoder, and no prompt that repeats another."""
    return unit.encoder == encoder and not (side == "prompt" and unit.signals[REPEAT_SIGNALS[side]] > 0)


def is_judged(stream: str, unit: Unit, encoder: str) -> bool:
    """Whether a vector stream counts a unit: a text with words, under its own encoder, and of the prompts no repeat.

    A response given its prompt needs both. References are made by the same rule: what one counts and the other does not
    would look like a change.
    """
    sides = SIDES if stream == GIVEN else (stream,)
    return all(_counts(side, unit, encoder) and bool(usable(unit.vectors[side][None])[0]) for side in sides)


def vectors_of(side: str, units: Sequence[Unit], encoder: str, dimensions: int) -> NDArray[np.float32]:
    """(n, dimensions) vectors of one side; NaN, which every detector skips, where it is not judged."""
    found = np.full((len(units), dimensions), np.nan, np.float32)
    for row, unit in zip(found, units, strict=True):
        if _counts(side, unit, encoder) and len(vector := unit.vectors[side]) == dimensions:
            row[:] = vector
    found[~usable(found)] = np.nan
    return found


def uniform(interaction_id: str, stream: str) -> float:
    """A number in [0, 1) that depends on nothing but the names: random to the detector, the same in every replay."""
    return int.from_bytes(blake2b(f"{stream}\0{interaction_id}".encode(), digest_size=7).digest(), "big") / 2**56


class Sessions:
    """Sessions that have already given a unit; the first turn that arrives is the one.

    A session may have no second turn, so waiting for a later one would lose the many that have just one. Bounded: the
    session that was quiet longest is forgotten first.
    """

    def __init__(self, known: Iterable[int] = ()) -> None:
        self._known: OrderedDict[int, None] = OrderedDict.fromkeys(known)

    def first(self, session_id: str | None) -> bool:
        """Whether an interaction of this session is a unit; notes the session."""
        if session_id is None:
            return True
        key = int.from_bytes(blake2b(session_id.encode(), digest_size=8).digest(), "big")
        new = key not in self._known
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > SESSIONS:
            self._known.popitem(last=False)
        return new

    def snapshot(self) -> NDArray[np.uint64]:
        """(n,) digests, the one that was quiet longest first."""
        return np.fromiter(self._known, np.uint64, len(self._known))


class Repeats:
    """Finds units whose vector repeats one of the last 256: a cosine above .98, which equal texts always reach."""

    def __init__(self, seen: int = 0) -> None:
        self._vectors: NDArray[np.float32] | None = None
        self._next = seen

    @classmethod
    def after(cls, units: Iterable[Unit], stream: str, seen: int) -> Repeats:
        """As it stood after `seen` units, of which these were the last."""
        last = list(units)
        repeats = cls(seen - len(last))
        for unit in last:
            repeats.seen(unit, stream)
        return repeats

    def seen(self, unit: Unit, stream: str) -> bool:
        """Whether the unit repeats an earlier one; notes it."""
        vector = unit.vectors[stream]
        if self._vectors is None or self._vectors.shape[1] != len(vector):
            self._vectors = np.zeros((REPEATS_WITHIN, len(vector)), np.float32)
        known = bool((self._vectors @ vector).max() > NEAR)
        self._vectors[self._next % REPEATS_WITHIN] = vector
        self._next += 1
        return known
