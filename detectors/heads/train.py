"""Rebuilds every head: `python -m detectors.heads.train --data ../shared/data --out detectors/heads`.

Takes some seven minutes of one core, five of them encoding; `--cache` keeps the encodings for the next time. The same
data gives the same weights on the same processor; another rounds its sums differently.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from detectors.encoder import Encoder, open_encoder, weights_of
from detectors.heads import write_head
from detectors.heads.encoded import encode
from detectors.heads.held_out_sentences import measuring_sentences
from detectors.heads.sources import completions, toxicity_rows
from detectors.heads.train_refusal import train_refusal
from detectors.heads.train_toxicity import FOLDS, train_toxicity

__all__ = ["main"]

_TOXICITY_LIMITS = [
    "Irony, reclaimed slurs, quoted and negated hate are often mistaken; implicit hate is often missed.",
    "English only: other languages were not measured.",
    "Parts of the training data carry known bias against African-American English.",
    "A text over 256 tokens is judged by its mean, so a short insult inside a long text is missed.",
    "The per-group figures rest on 18 harmless and 8 hostile sentences a group.",
]
_REFUSAL_LIMITS = [
    "English completions of five model versions to 450 prompts that provoke refusals; nobody labelled other traffic.",
    "Ordinary responses without any expression of refusal were taken for answers.",
    "Partial refusals count as refusals.",
]


def main(
    data: Annotated[Path, typer.Option(help="Directory of the training data.")],
    out: Annotated[Path, typer.Option(help="Directory to write the heads to.")],
    cache: Annotated[Path | None, typer.Option(help="Directory that keeps encodings between runs.")] = None,
    graphs: Annotated[Path | None, typer.Option(help="Cache directory of the encoder.")] = None,
    threads: Annotated[int, typer.Option(help="Texts encoded at the same time.")] = 1,
) -> None:
    """Train all heads and write weights and cards."""
    with tempfile.TemporaryDirectory() as scratch, Progress(console=Console(stderr=True)) as progress:
        encoder = open_encoder("onnx", cache=graphs or Path(scratch), threads=threads)
        _toxicity(data, out, encoder, progress, cache)
        _refusal(data, out, encoder, progress, cache)


def _toxicity(data: Path, out: Path, encoder: Encoder, progress: Progress, cache: Path | None) -> None:
    rows, measuring = toxicity_rows(data), measuring_sentences()
    inner = encode([row.text for row in rows], encoder, progress, "toxicity: encode", cache)
    measured = encode([one.text for one in measuring], encoder, progress, "toxicity: encode held-out", cache)
    task = progress.add_task("toxicity: fit", total=FOLDS + 1)
    head, card = train_toxicity(rows, inner, measuring, measured, lambda: progress.advance(task))
    named = {"name": "toxicity", "encoder": weights_of(encoder.fingerprint)}
    write_head("toxicity", head.arrays(), {**named, **card, "limits": _TOXICITY_LIMITS}, out, np.float16)


def _refusal(data: Path, out: Path, encoder: Encoder, progress: Progress, cache: Path | None) -> None:
    rows = completions(data)
    inner = encode([row.text for row in rows], encoder, progress, "refusal: encode", cache)
    task = progress.add_task("refusal: fit", total=len({row.model for row in rows}))
    head, card = train_refusal(rows, inner, lambda: progress.advance(task))
    named = {"name": "refusal", "encoder": weights_of(encoder.fingerprint)}
    write_head("refusal", head.arrays(), {**named, **card, "limits": _REFUSAL_LIMITS}, out, np.float32)


if __name__ == "__main__":
    typer.run(main)
