"""Files of interactions that carry what the product stores, so that no encoder is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.encoder.bfloat16 import to_bfloat16
from streams.offline.backtest import Plan, backtest
from streams.settings import Budget, Settings
from tocsin.messages import pack_vector

DIMENSIONS = 24
UNITS = 2_100
START = datetime(2026, 1, 1, tzinfo=UTC)
CENTRES = np.random.default_rng(7).normal(size=(60, DIMENSIONS))
KINDS = {"old": slice(0, 45), "new": slice(45, 60)}

Line = dict[str, Any]


def unit_vectors(random: np.random.Generator, kinds: Sequence[str]) -> NDArray[np.float32]:
    chosen = np.array([random.integers(KINDS[kind].start, KINDS[kind].stop) for kind in kinds], int)
    points = CENTRES[chosen] + 0.9 * random.normal(size=(len(kinds), DIMENSIONS))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def packed(vector: NDArray[np.float32]) -> str:
    return pack_vector(to_bfloat16(vector).tobytes())


def interactions(count: int, changed_from: int = 10**9, first: int = 0, **fields: Any) -> list[Line]:
    """Interactions five minutes apart; from some point on, a third of the prompts are of another kind."""
    random = np.random.default_rng((11, first))
    kinds = ["new" if first + i >= changed_from and random.random() < 0.35 else "old" for i in range(count)]
    prompts, responses = unit_vectors(random, kinds), unit_vectors(random, ["old"] * count)
    return [
        {
            "interaction_id": f"i{first + i}",
            "application": "shop",
            "occurred_at": (START + timedelta(minutes=5 * (first + i))).isoformat(),
            "model": {"name": "m", "version": "1"},
            "prompt_vector": packed(prompts[i]),
            "response_vector": packed(responses[i]),
            "signals": {"relevance": float(random.normal()), "prompt.toxicity": float(random.random() ** 6)},
            "encoder": "test",
        }
        | fields
        for i in range(count)
    ]


def settings_in(directory: Path) -> Settings:
    return Settings(budget=Budget(pages_per_30_days=3), data_directory=directory / "data")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def written(file: Path, lines: Sequence[Line | str]) -> Path:
    """A file of lines; those that are texts already as they are."""
    file.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines), "utf-8")
    return file


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines to a file of this test."""
    return lambda lines, name="history.jsonl": written(tmp_path / name, lines)


def without_seconds(found: list[Line]) -> list[Line]:
    return [{name: value for name, value in each.items() if name != "seconds"} for each in found]


def replayed(file: Path, settings: Settings, first: int = UNITS, **plan: Any) -> list[Line]:
    """What a backtest prints, without the seconds."""
    return without_seconds(list(backtest(Plan(file, reference_first=first, **plan), settings)))


@pytest.fixture(scope="session")
def history() -> list[Line]:
    """Ordinary interactions that change in the end."""
    return interactions(UNITS + 1_000, changed_from=UNITS + 500)


@pytest.fixture(scope="session")
def whole(history: list[Line], tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """What an uninterrupted backtest of the history prints."""
    directory = tmp_path_factory.mktemp("whole")
    return replayed(written(directory / "history.jsonl", history), settings_in(directory))
