"""Rebuilds every head and its card: about ten minutes of two cores the first time, most of them encoding.

The same data gives the same weights on the same processor; another rounds its sums differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from detectors.encoder import Encoder, open_encoder, weights_of
from detectors.heads import write_head
from detectors.heads.mlp import sigmoid
from detectors.heads.training.blended import FOLDS, Plan, Trained, cross_fit
from detectors.heads.training.encoded import KEPT_CHARACTERS, encode
from detectors.heads.training.injection import PLAN as INJECTION
from detectors.heads.training.injection import injection_rows, measure_injection
from detectors.heads.training.notes import NOTES
from detectors.heads.training.refusal import completions, train_refusal
from detectors.heads.training.sources import Row
from detectors.heads.training.toxicity import PLAN as TOXICITY
from detectors.heads.training.toxicity import Judge, measure_toxicity, toxicity_rows

__all__ = ["Workshop", "main"]

_CACHE = Path.home() / ".cache" / "tocsin"


@dataclass(frozen=True)
class Workshop:
    """Where the material comes from, what it is worked with, and where the heads go."""

    data: Path
    out: Path
    cache: Path
    encoder: Encoder
    progress: Progress
    threads: int

    def states(self, title: str, texts: Sequence[str]) -> NDArray[np.float16]:
        """Hidden states (n, 3, 384) of texts, each encoded at most once."""
        task = self.progress.add_task(f"{title}: encode", total=len(texts))
        return encode(texts, self.encoder, self.cache / "training", lambda count: self.progress.advance(task, count))

    def blended(
        self,
        name: str,
        rows: list[Row],
        plan: Plan,
        measure: Callable[[Path, list[Row], Trained, Judge], dict[str, Any]],
    ) -> None:
        """Train, measure and write a head of the blended form."""
        inner = self.states(name, [row.text for row in rows])
        task = self.progress.add_task(f"{name}: fit", total=FOLDS + 1)
        trained = cross_fit(rows, inner, plan, lambda: self.progress.advance(task), self.threads)

        def judge(texts: Sequence[str]) -> NDArray[np.float64]:
            if max(map(len, texts)) > KEPT_CHARACTERS:
                return trained.head.probabilities(texts, self.encoder.encode(texts)).astype(np.float64)
            states = self.states(f"{name}: measure", texts).astype(np.float32)
            return sigmoid(trained.head.logits(texts, states)).astype(np.float64)

        self.write(name, trained.head.arrays(), measure(self.data, rows, trained, judge), np.float16)

    def write(
        self, name: str, arrays: dict[str, NDArray[np.float32]], card: dict[str, Any], precision: type[np.floating]
    ) -> None:
        """Write weights and card."""
        head = {"name": name, "encoder": weights_of(self.encoder.fingerprint), **NOTES[name]}
        write_head(name, arrays, {**head, **card}, self.out, precision)


def main(
    data: Annotated[Path, typer.Option(help="Directory of the training data.")],
    out: Annotated[Path, typer.Option(help="Directory to write the heads to.")],
    cache: Annotated[Path, typer.Option(help="Keeps the encoder's graph, and encodings for the next time.")] = _CACHE,
    threads: Annotated[int, typer.Option(help="Texts encoded, and folds fitted, at the same time.")] = 2,
) -> None:
    """Train all heads and write weights and cards."""
    # One thread for each product of matrices: the order of a sum must not depend on the machine's cores.
    with threadpool_limits(1), Progress(console=Console(stderr=True)) as progress:
        encoder = open_encoder("onnx", cache=cache, threads=threads)
        workshop = Workshop(data, out, cache, encoder, progress, threads)
        judged = completions(data)
        refusal, card = train_refusal(judged, workshop.states("refusal", [one.text for one in judged]))
        workshop.write("refusal", refusal.arrays(), card, np.float32)
        workshop.blended("injection", injection_rows(data), INJECTION, measure_injection)
        workshop.blended("toxicity", toxicity_rows(data), TOXICITY, measure_toxicity)


if __name__ == "__main__":
    typer.run(main)
