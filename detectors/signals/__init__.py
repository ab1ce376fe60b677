"""Signals: numbers read off an interaction. One family a file, found by discovery; importing this loads nothing heavy.

A new signal is one new file with a tuple `SIGNALS` of classes that implement `TextSignal` or `InteractionSignal`. Text
signals are computed for the prompt and for the response, and are named `prompt.…` and `response.…` there; of a bare
text they keep their plain name. `signal_outputs()` lists every name.

Signals of others come through the entry point group `tocsin.signals`, see `custom`; those that need a large model are
in `heavy`; those that ask the network implement these protocols in `streams.scorers`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import Encoding
from tocsin.contracts import Interaction

__all__ = [
    "READ_CHARACTERS",
    "WORD",
    "Exchanges",
    "FloatArray",
    "InteractionSignal",
    "Kind",
    "Output",
    "Readings",
    "Side",
    "SignalConflictError",
    "Signals",
    "TextSignal",
    "Texts",
    "custom",
    "discover",
    "signal_labels",
    "signal_outputs",
    "text_outputs",
]

FloatArray = NDArray[np.float64]
Kind = Literal["scalar", "binary", "probability"]
"""scalar: any number in its unit; binary: 0 or 1; probability: from 0 to 1."""
Side = Literal["prompt", "response"]
SIDES: tuple[Side, ...] = ("prompt", "response")
READ_CHARACTERS = 20_000
"""What is read of a text by those who need no more to judge it: many times what the encoder reads."""
WORD = re.compile(r"\w+")


class SignalConflictError(Exception):
    """A configured or installed signal takes a name that is taken, or is none: stop at start-up."""


@dataclass(frozen=True)
class Output:
    """What one number is. A value above `threshold` raises a flag; None never does.

    watched: whether it is a drift stream by default; of a text's signal, on both sides or on one. Every stream takes
        its share of the page budget, so what nobody would want to be paged about is not.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    threshold: float | None = None
    higher_is_worse: bool | None = None
    watched: bool | Side = True


@dataclass(frozen=True, eq=False)
class Texts:
    """n texts and what the encoder says about them."""

    texts: Sequence[str]
    encoding: Encoding

    def __len__(self) -> int:
        """How many texts."""
        return len(self.texts)

    @cached_property
    def words(self) -> list[list[str]]:
        """Of every text the words that it begins with, in lower case."""
        return [WORD.findall(text[:READ_CHARACTERS].lower()) for text in self.texts]


@dataclass(frozen=True, eq=False)
class Exchanges:
    """n interactions with their prompts, responses and reference answers as texts; without one, a text is empty."""

    interactions: Sequence[Interaction]
    prompts: Texts
    responses: Texts
    references: Texts

    def __len__(self) -> int:
        """How many interactions."""
        return len(self.interactions)


@dataclass(frozen=True, eq=False)
class Readings:
    """Columns of n values by output name. NaN: the signal does not apply here. Labels are words instead of numbers."""

    numbers: dict[str, FloatArray]
    labels: dict[str, Sequence[str]] = field(default_factory=dict)


@runtime_checkable
class TextSignal(Protocol):
    """Reads texts. The scorer calls it from any thread; it computes only, and raises for no text."""

    outputs: tuple[Output, ...] = ()
    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def score_texts(self, texts: Texts) -> Readings:
        """Every output and label for every text. What a text gets does not depend on the texts beside it."""
        ...


@runtime_checkable
class InteractionSignal(Protocol):
    """Reads whole interactions; otherwise as `TextSignal`."""

    outputs: tuple[Output, ...] = ()
    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """Every output and label for every interaction."""
        ...


@dataclass(frozen=True)
class Signals:
    """A set of signals, in a fixed order."""

    texts: tuple[TextSignal, ...] = ()
    interactions: tuple[InteractionSignal, ...] = ()

    @property
    def every(self) -> list[TextSignal | InteractionSignal]:
        """Both kinds."""
        return [*self.texts, *self.interactions]

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads that the signals use."""
        return tuple(sorted({head for signal in self.every for head in signal.heads}))

    def text_outputs(self) -> dict[str, Output]:
        """Outputs for a bare text."""
        return {output.name: output for signal in self.texts for output in signal.outputs}

    def outputs(self) -> dict[str, Output]:
        """Outputs for an interaction, under their full names."""
        sides = {
            f"{side}.{name}": replace(output, watched=output.watched in (True, side))
            for side in SIDES
            for name, output in self.text_outputs().items()
        }
        whole = {output.name: output for signal in self.interactions for output in signal.outputs}
        return {name: replace(output, name=name) for name, output in (sides | whole).items()}

    def labels(self) -> tuple[str, ...]:
        """Labels of an interaction, under their full names."""
        sides = [f"{side}.{label}" for side in SIDES for signal in self.texts for label in signal.labels]
        return (*sides, *(label for signal in self.interactions for label in signal.labels))

    def with_others(self, others: Iterable[TextSignal | InteractionSignal]) -> Signals:
        """These and others after them.

        Raises:
            SignalConflictError: one is no signal, or two have an output or label of the same name.
        """
        joined = _sorted_out([*self.every, *others])
        seen: set[str] = set()
        for signal in joined.every:
            names = {*(output.name for output in signal.outputs), *signal.labels}
            if taken := sorted(names & seen):
                raise SignalConflictError(f"{type(signal).__name__}: there is a signal {taken[0]!r} already")
            seen |= names
        return joined


@cache
def discover() -> Signals:
    """Every signal of this package, by name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)
    return _sorted_out([made() for name in names for made in importlib.import_module(f"{__name__}.{name}").SIGNALS])


def custom() -> list[TextSignal | InteractionSignal]:
    """One of every signal class that installed packages name in the entry point group `tocsin.signals`."""
    return [entry.load()() for entry in sorted(entry_points(group="tocsin.signals"), key=lambda entry: entry.name)]


def _sorted_out(signals: Iterable[TextSignal | InteractionSignal]) -> Signals:
    texts, interactions = list[TextSignal](), list[InteractionSignal]()
    for signal in signals:
        if isinstance(signal, TextSignal):
            texts.append(signal)
        elif isinstance(signal, InteractionSignal):
            interactions.append(signal)
        else:
            raise SignalConflictError(f"{type(signal).__name__} has neither score_texts nor score_interactions")
    return Signals(tuple(texts), tuple(interactions))


def signal_outputs() -> dict[str, Output]:
    """Every number that an interaction may get, by full name. Loads neither encoder nor weights."""
    return discover().outputs()


def signal_labels() -> tuple[str, ...]:
    """Every label that an interaction may get, by full name."""
    return discover().labels()


def text_outputs() -> dict[str, Output]:
    """Every number that a bare text may get."""
    return discover().text_outputs()
