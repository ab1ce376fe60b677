"""Who changed: what users ask, how the model answers, or both.

Prompts do not depend on the model, so a change of theirs speaks for the users. How a given prompt is answered does not
depend on which prompts are asked, so a change of that speaks for the model. Responses by themselves follow either, and
speak for the model only while prompts stay as they were.

The trap: a regression says little about prompts unlike those that it was fitted on, so that a new topic moves the
residuals of a model that stayed as it was, often further than a new model does (.36 standard deviations where refusals
are new, .05 for a new version of the same model). Neither evidence nor effect sizes of the two streams tell these cases
apart. Hence only prompts that lie as close to the reference's as these to each other speak about the model, and their
answers are compared with those of their own cluster (`answers.Answers`).

A page comes as soon as one stream is sure, when others may hold little evidence yet. Therefore prompts and residuals of
the units since the estimated beginning are tested once, at a level of their own: they did not choose that window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import special

from detectors.drift import Float32Array, FloatArray, IntArray
from detectors.drift.kernels import p_values
from detectors.drift.reference import VectorReference, bins_of
from detectors.drift.tail import pearson3_logsf
from detectors.drift.usable import usable
from detectors.drift.vectors import VectorDetector
from streams.core.answers import Answers
from streams.core.reference import Reference
from streams.core.units import GIVEN, SIDES, Unit, is_judged

Attribution = Literal["users", "model", "both", "unclear"]

MOVED = 0.1
"""Evidence from which on a stream has moved."""

FEWEST = 8  # units that a mean may be taken of
USERS_LEVEL, MODEL_LEVEL = 0.005, 0.001
STRANGE = 0.05

_OF_USERS = ("prompt", "input_tokens")
_OF_RESPONSES = ("response", GIVEN, "refusal", "relevance", "language_mismatch", "output_tokens")


def attribute(
    reference: Reference,
    answers: Answers | None,
    evidence: Mapping[str, float],
    since: Sequence[Unit],
    places: IntArray | None = None,
) -> Attribution:
    """Say who changed.

    "both" needs a sign of the model on prompts that were asked before: how the former model would have answered new
    ones nobody knows, so that where users ask only those the verdict is "users". What neither prompts nor responses
    show (of latency, cost, errors) is "unclear".

    Args:
        reference: what the units are compared with.
        answers: how its prompts were answered; none: responses given their prompts are not watched.
        evidence: of every stream, from 0 to 1.
        since: units since the estimated beginning; too few say little, sixteen are a good least.
        places: (n,) of each unit in the cycle of the traffic; none: there is one place.
    """
    judged = [i for i, unit in enumerate(since) if is_judged("prompt", unit, reference.encoder)]
    where = np.zeros(len(judged), np.int64) if places is None else places[judged]
    prompts, responses = (_vectors([since[i] for i in judged], side) for side in SIDES)
    users = _moved(evidence, _OF_USERS) or _asks_otherwise(reference, prompts, where)
    model = answers is not None and _answers_otherwise(reference, answers, prompts, responses)
    if users:
        return "both" if model else "users"
    return "model" if model or _moved(evidence, _OF_RESPONSES) else "unclear"


def _moved(evidence: Mapping[str, float], sides: Sequence[str]) -> bool:
    """Whether a stream of these names, or a signal of these sides, moved."""
    return any(value >= MOVED for name, value in evidence.items() if name.partition(".")[0] in sides)


def _vectors(units: Sequence[Unit], side: str) -> Float32Array:
    return np.array([unit.vectors[side] for unit in units], np.float32)


def _known(reference: Reference, stream: str) -> VectorReference | None:
    detector = reference.detectors.get(stream)
    return detector.reference if isinstance(detector, VectorDetector) else None


def _asks_otherwise(reference: Reference, prompts: Float32Array, places: IntArray) -> bool:
    """Whether prompts moved on the whole, or more of them are strange than in the reference."""
    known = _known(reference, "prompt")
    if known is None or len(prompts) < FEWEST:
        return False
    bins = bins_of(known.strangeness(prompts), known.grid)
    strange = int((p_values(known.novelty, places, bins, np.full(len(bins), 0.5)) <= STRANGE).sum())
    expected = STRANGE + 2 * math.sqrt(STRANGE / known.calibration)  # the 5 % point is itself an estimate
    chance = float(special.bdtrc(strange - 1, len(prompts), expected)) if strange else 1.0
    shares = np.bincount(places, minlength=len(known.bucket_units)) / len(prompts)
    variance = 1 / len(prompts) + float((shares**2 / known.bucket_units).sum())
    moved = _chance(known, (prompts - known.centres[places]).mean(axis=0), variance)
    return min(chance, moved) <= USERS_LEVEL


def _answers_otherwise(reference: Reference, answers: Answers, prompts: Float32Array, responses: Float32Array) -> bool:
    """Whether prompts that are like the reference's are answered otherwise than those."""
    known, asked = _known(reference, GIVEN), _known(reference, "prompt")
    if known is None or asked is None or reference.given is None or not len(prompts):
        return False
    residuals = reference.given.residual(prompts, responses)
    like = usable(residuals) & answers.asked_before(prompts)
    difference, variance, n = answers.shift(asked.nearest(prompts[like]), residuals[like])
    return n >= FEWEST and _chance(known, difference, variance) <= MODEL_LEVEL


def _chance(known: VectorReference, difference: Float32Array | FloatArray, variance: float) -> float:
    """P-value of a (d,) mean difference whose variance is so much of one unit's: the statistic of a look."""
    squares = known.squares(np.asarray(difference, np.float32)[None])
    return math.exp(pearson3_logsf((squares / variance - known.mean) / known.scale, known.skew)[0])
