"""Signals: numbers read off an interaction. One family a file, found by discovery; importing this loads nothing heavy.

A new signal is one new file with a tuple `SIGNALS` of classes that implement `TextSignal` or `InteractionSignal`. Text
signals are computed for the prompt and for the response, and are named `prompt.…` and `response.…` there; of a bare
text they keep their plain name. `signal_outputs()` lists every name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import Encoding
from tocsin.contracts import Interaction

__all__ = [
    "Exchanges",
    "FloatArray",
    "InteractionSignal",
    "Kind",
    "Output",
    "Readings",
    "Signals",
    "TextSignal",
    "Texts",
    "discover",
    "signal_labels",
    "signal_outputs",
    "text_outputs",
]

FloatArray = NDArray[np.float64]
Kind = Literal["scalar", "binary", "probability"]
"""scalar: any number in its unit; binary: 0 or 1; probability: from 0 to 1."""
SIDES = ("prompt", "response")


@dataclass(frozen=True)
class Output:
    """What one number is. A value above `threshold` raises a flag; None never does."""

    name: str
    kind: Kind
    description: str
    unit: str = ""
    threshold: float | None = None
    higher_is_worse: bool | None = None


@dataclass(frozen=True, eq=False)
class Texts:
    """n texts and what the encoder says about them."""

    texts: Sequence[str]
    encoding: Encoding

    def __len__(self) -> int:
        """How many texts."""
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Exchanges:
    """n interactions with their prompts and responses as texts."""

    interactions: Sequence[Interaction]
    prompts: Texts
    responses: Texts

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
    def heads(self) -> tuple[str, ...]:
        """Names of the heads that the signals use."""
        used = [signal.heads for signal in self.texts] + [signal.heads for signal in self.interactions]
        return tuple(sorted({head for heads in used for head in heads}))

    def text_outputs(self) -> dict[str, Output]:
        """Outputs for a bare text."""
        return {output.name: output for signal in self.texts for output in signal.outputs}

    def outputs(self) -> dict[str, Output]:
        """Outputs for an interaction, under their full names."""
        sides = {f"{side}.{name}": output for side in SIDES for name, output in self.text_outputs().items()}
        whole = {output.name: output for signal in self.interactions for output in signal.outputs}
        return {name: replace(output, name=name) for name, output in (sides | whole).items()}

    def labels(self) -> tuple[str, ...]:
        """Labels of an interaction, under their full names."""
        sides = [f"{side}.{label}" for side in SIDES for signal in self.texts for label in signal.labels]
        return (*sides, *(label for signal in self.interactions for label in signal.labels))


@cache
def discover() -> Signals:
    """Every signal of this package, by name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [made() for name in names for made in importlib.import_module(f"{__name__}.{name}").SIGNALS]
    return Signals(
        tuple(signal for signal in found if isinstance(signal, TextSignal)),
        tuple(signal for signal in found if isinstance(signal, InteractionSignal)),
    )


def signal_outputs() -> dict[str, Output]:
    """Every number that an interaction may get, by full name. Loads neither encoder nor weights."""
    return discover().outputs()


def signal_labels() -> tuple[str, ...]:
    """Every label that an interaction may get, by full name."""
    return discover().labels()


def text_outputs() -> dict[str, Output]:
    """Every number that a bare text may get."""
    return discover().text_outputs()
