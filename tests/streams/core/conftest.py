"""Traffic of one application as the watch stage sees it, and a monitor that has learned its reference from some."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.encoder.bfloat16 import to_bfloat16
from streams.core.budget import Budget
from streams.core.monitor import ApplicationMonitor, Learned, Rules
from tocsin.contracts import Model
from tocsin.messages import Scored, Source, pack_vector

DIMENSIONS = 16
START = datetime(2026, 1, 1, tzinfo=UTC)
UNITS = 2_000
HERE = frozenset({"shop"})
DIRECTIONS = {
    kind: np.random.default_rng(seed).normal(size=(24, DIMENSIONS)) for kind, seed in (("old", 1), ("new", 2))
}


def packed(vector: NDArray[np.floating]) -> str:
    return pack_vector(to_bfloat16(np.asarray(vector, np.float32)).astype("<u2").tobytes())


def unit_vectors(random: np.random.Generator, n: int, kind: str) -> NDArray[np.floating]:
    centres = DIRECTIONS[kind][random.integers(24, size=n)]
    points = centres + 0.8 * random.normal(size=(n, DIMENSIONS))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


@dataclass(frozen=True)
class Traffic:
    """Makes messages; `first` is the number of the first one, from which ids, offsets and times follow."""

    seconds: float = 60.0

    def __call__(self, n: int, first: int = 0, kind: str = "old", **changed: Any) -> list[Scored]:
        random = np.random.default_rng((first, 0 if kind == "old" else 1))
        prompts, responses = unit_vectors(random, n, kind), unit_vectors(random, n, "old")
        lengths, toxic = random.lognormal(size=n), random.random(n) ** 8
        return [
            Scored(
                **{
                    "source": Source(topic="tocsin.interactions", partition=0, offset=first + i),
                    "interaction_id": f"i{first + i}",
                    "application": "shop",
                    "occurred_at": START + timedelta(seconds=self.seconds * (first + i)),
                    "model": Model(name="m", version="1"),
                    "signals": {"length": float(lengths[i]), "toxicity": float(toxic[i])},
                    "prompt_vector": packed(prompts[i]),
                    "response_vector": packed(responses[i]),
                    "encoder": "e1",
                }
                | changed
            )
            for i in range(n)
        ]


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture(scope="session")
def vector_text() -> Callable[[NDArray[np.floating]], str]:
    return packed


@pytest.fixture(scope="session")
def rules() -> Rules:
    return Rules(UNITS, {"length": "both", "toxicity": "up"}, Budget(pages_per_30_days=30.0), "hash")


@pytest.fixture(scope="session")
def taught(traffic: Traffic, rules: Rules) -> ApplicationMonitor:
    """A monitor that has just learned; copy it before use."""
    monitor = ApplicationMonitor("shop", rules)
    events = monitor.apply(traffic(UNITS), HERE)
    assert [event.proposed for event in events if isinstance(event, Learned)] == [False]
    return monitor


@pytest.fixture
def monitor(taught: ApplicationMonitor) -> ApplicationMonitor:
    """A monitor that has just learned."""
    return copy.deepcopy(taught)
