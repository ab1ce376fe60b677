"""Who changed, on traffic of which it is known: prompts of topics, and models that answer each in their own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from detectors.drift import Float32Array
from detectors.drift.vectors import VectorDetector
from streams.core.answers import Answers
from streams.core.attribution import attribute
from streams.core.fitting import make_reference
from streams.core.reference import Reference
from streams.core.units import Unit

DIMENSIONS, TOPICS, UNITS = 32, 24, 3_000
RANDOM = np.random.default_rng(0)
CENTRES = RANDOM.normal(size=(TOPICS, DIMENSIONS))
ANSWERS = {model: RANDOM.normal(size=(TOPICS, DIMENSIONS)) for model in ("former", "unlike")}
ANSWERS["new"] = ANSWERS["former"] + 0.25 * RANDOM.normal(size=DIMENSIONS)  # says the same in another tone
KNOWN, FEW = range(TOPICS - 4), range(6)
QUIET: dict[str, float] = {}


def directions(points: np.ndarray[Any, Any]) -> Float32Array:
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def units(n: int, topics: range, model: str = "former", seed: int = 1) -> list[Unit]:
    """Prompts near their topics' centres, and responses that follow the topic, the prompt's own part, and chance."""
    random = np.random.default_rng(seed)
    topic = random.choice(topics, n)
    own, chance = random.normal(size=(2, n, DIMENSIONS))
    prompts, responses = (
        directions(CENTRES[topic] + 0.5 * own),
        directions(ANSWERS[model][topic] + 0.3 * own + 0.5 * chance),
    )
    calm = {"prompt.repeat": 0.0, "response.repeat": 0.0}
    return [
        Unit(f"{seed}-{i}", 60.0 * i, "e", {"prompt": prompts[i], "response": responses[i]}, calm, {}) for i in range(n)
    ]


def stacked(several: list[Unit], side: str) -> Float32Array:
    return np.array([unit.vectors[side] for unit in several])


@pytest.fixture(scope="module")
def taught() -> tuple[Reference, Answers]:
    former = units(UNITS, KNOWN, seed=0)
    made = make_reference("shop", former, {}, pages_per_second=1e-6)
    asked, prompts = made.detectors["prompt"], stacked(former, "prompt")
    assert not made.refused and made.given is not None and isinstance(asked, VectorDetector)
    residuals = made.given.residual(prompts, stacked(former, "response"))
    return made, Answers.of(asked.reference, prompts[made.given.held_out], residuals[made.given.held_out])


@dataclass(frozen=True)
class Change:
    topics: range
    model: str
    verdict: str


CHANGES = {
    "some of the known topics are asked more often": Change(FEW, "former", "users"),
    "only topics that nobody asked before": Change(range(TOPICS - 4, TOPICS), "former", "users"),
    "a new model answers new topics, which nobody can compare": Change(range(TOPICS - 4, TOPICS), "new", "users"),
    "a new model answers the same topics": Change(KNOWN, "new", "model"),
    "a new model, and some topics are asked more often": Change(FEW, "new", "both"),
    "nothing": Change(KNOWN, "former", "unclear"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_who_changed_is_told_from_two_hundred_units(taught: tuple[Reference, Answers], name: str) -> None:
    change = CHANGES[name]
    verdicts = [attribute(*taught, QUIET, units(200, change.topics, change.model, seed)) for seed in range(2, 12)]
    assert verdicts.count(change.verdict) >= 9, verdicts  # type: ignore[arg-type]


def test_nothing_new_is_seldom_taken_for_a_change(taught: tuple[Reference, Answers]) -> None:
    verdicts = [attribute(*taught, QUIET, units(64, KNOWN, seed=seed)) for seed in range(100, 200)]
    assert verdicts.count("unclear") >= 95


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [
        ("response.length_tokens", "model"),
        ("refusal", "model"),
        ("response", "model"),
        ("prompt.toxicity", "users"),
        ("input_tokens", "users"),
        ("latency_ms", "unclear"),
        ("a_signal_of_ones_own", "unclear"),
    ],
)
def test_a_signal_that_moves_alone_speaks_for_its_side(
    taught: tuple[Reference, Answers], moved: str, verdict: str
) -> None:
    assert attribute(*taught, {moved: 1.0, "cost": 0.05, "response.toxicity": 0.09}, units(64, KNOWN)) == verdict


def test_signals_decide_alone_where_there_is_no_unit_to_look_at(taught: tuple[Reference, Answers]) -> None:
    foreign = [Unit("x", 0.0, "another encoder", unit.vectors, unit.signals, {}) for unit in units(32, FEW)]
    silent = [
        Unit("x", 0.0, "e", dict.fromkeys(("prompt", "response"), np.zeros(DIMENSIONS, np.float32)), unit.signals, {})
        for unit in units(32, FEW)
    ]
    for since in ([], foreign, silent, units(7, FEW)):
        assert attribute(*taught, {"response": 1.0}, since) == "model"
        assert attribute(*taught, {"prompt": 0.4, "response": 1.0}, since) == "users"
