"""Delays after a change of the model: the same prompts, answered by another one. All streams share one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift import texts
from benchmarks.drift.changes import CHANGE_AT
from benchmarks.drift.intervals import mean_error
from benchmarks.drift.ledger import Cell, Ledger, Record
from benchmarks.drift.play import at_budget, first_page
from detectors.drift import Float32Array, given, rank, reference
from detectors.drift.rank import RankDetector
from detectors.drift.vectors import VectorDetector

SETS = ("arena prompts", "gsm8k prompts", *texts.GPT, *texts.GSM)
SOURCES = (
    "detectors/drift/*.py",
    *(f"benchmarks/drift/{name}.py" for name in ("swapped", "changes", "play", "texts")),
)
SWAPS = (
    ("arena prompts", "gpt-4-0314", "gpt-4-0613"),
    ("arena prompts", "gpt-4-0613", "gpt-3.5-turbo-0125"),
    ("arena prompts", "gpt-4-0613", "gpt-4-0613"),
    ("gsm8k prompts", "6b_finetuning", "175b_finetuning"),
    ("gsm8k prompts", "175b_finetuning", "175b_verification"),
    ("gsm8k prompts", "175b_finetuning", "175b_finetuning"),
)
"""Prompts, and who answers them before and after. The same twice is a control: its change is that of the prompts, from
one half of them to the other, which shows how much of the delays is due to a law of so few prompts and answers."""

STREAMS = ("prompt", "response", "response_given_prompt", "response.length", "relevance")
UNITS, PER_PAGE, HORIZON = 10_000, 100_000, 8_192


@dataclass(frozen=True)
class Answers:
    """Prompts asked again and again; from unit 1,024 on another model answers."""

    prompts: Float32Array
    before: Float32Array
    after: Float32Array
    lengths: tuple[NDArray[np.float64], NDArray[np.float64]]

    def of(self, stream: str, rows: NDArray[np.int64], changed: bool, regression: given.Given) -> NDArray[Any]:
        """(n, …) values of a stream for these prompts."""
        prompts, responses = self.prompts[rows], (self.after if changed else self.before)[rows]
        match stream:
            case "prompt":
                return prompts
            case "response":
                return responses
            case "response_given_prompt":
                return regression.residual(prompts, responses)
            case "relevance":
                return np.asarray(np.einsum("nd,nd->n", prompts, responses, dtype=np.float64))
            case _:
                return self.lengths[changed][rows]


@dataclass(frozen=True)
class Answered:
    """One stream of them, as it is read."""

    answers: Answers
    stream: str
    rows: NDArray[np.int64]
    regression: given.Given

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, start: int, stop: int) -> NDArray[Any]:
        """(stop - start, …) its units; they do not straddle the change."""
        return self.answers.of(self.stream, self.rows[start:stop], start >= CHANGE_AT, self.regression)


def cells(_: Ledger) -> list[Cell]:
    """One for each pair of model versions."""
    fixed = {"units": UNITS, "units_per_page": PER_PAGE, "horizon": HORIZON}
    swaps = [{"prompts": prompts, "before": before, "after": after} for prompts, before, after in SWAPS]
    return [Cell("swapped", swap | fixed, 48, 4) for swap in swaps]


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> Record:
    """Delay of each stream, with its share of the budget."""
    random = np.random.default_rng((seed, 4))
    before, after = parameters["before"], parameters["after"]
    lengths = [np.array([len(text) for text in texts.SETS[name]()], np.float64) for name in (before, after)]
    answers = Answers(sets[parameters["prompts"]], sets[before], sets[after], (lengths[0], lengths[1]))
    n, length = len(answers.prompts), CHANGE_AT + parameters["horizon"]
    half = random.permutation(n)[: n // 2]
    halves = (half, np.setdiff1d(np.arange(n), half)) if before == after else (np.arange(n), np.arange(n))
    known = random.choice(halves[0], size=parameters["units"])
    regression = given.fit(answers.prompts[known], answers.before[known], seed=seed)
    rows = np.concatenate([random.choice(halves[0], CHANGE_AT), random.choice(halves[1], length - CHANGE_AT)])
    found: Record = {}
    for stream in STREAMS:
        seen = known[regression.held_out] if stream == "response_given_prompt" else known
        detector = _fitted(answers.of(stream, seen, False, regression), seed)
        per_page = parameters["units_per_page"] * len(STREAMS)
        source, uniforms = Answered(answers, stream, rows, regression), random.random(len(rows))
        page = first_page(at_budget(detector, per_page), source, 1 / per_page, uniforms, CHANGE_AT)
        found[stream] = {"delay": page.delay, "found": page.alarm is not None, "early": page.early}
    return found


def _fitted(values: NDArray[Any], seed: int) -> VectorDetector | RankDetector:
    if values.ndim == 2:
        return VectorDetector(reference.fit(values, seed=seed), 1.0)
    return RankDetector(rank.fit(values, seed=seed))


def rows(ledger: Ledger, of: list[Cell]) -> list[Record]:
    """One row for each swap: the first page of any stream, and each stream by itself."""
    found = []
    for cell in of:
        records = ledger.records(cell)
        if not records:
            continue
        first, error = mean_error([min(record[stream]["delay"] for stream in STREAMS) for record in records])
        means = {stream: float(np.mean([record[stream]["delay"] for record in records])) for stream in STREAMS}
        found.append(
            {"before": cell.parameters["before"], "after": cell.parameters["after"], "runs": len(records)}
            | {"any": round(first, 1), "error": round(error, 1)}
            | {stream: round(mean, 1) for stream, mean in means.items()}
            | {"early pages": sum(record[stream]["early"] for record in records for stream in STREAMS)}
        )
    return found
