"""Counts the letters of English and writes the table with its card: `python -m detectors.signals.letters.train`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from detectors.signals.letters import LETTERS, TABLE, places, plain, triples

SOURCE = "interactions/oasst_model_eval"
CHARACTERS = 1_500
PRIOR = 0.05


def texts(data: Path) -> Iterator[str]:
    """Every other response of the source that is in English; the rest is left to measure by."""
    with gzip.open(data / f"{SOURCE}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if not row["multilingual"]]
    yield from (row["response"][:CHARACTERS] for row in rows[::2])


def main(data: Annotated[Path, typer.Option(envvar="TOCSIN_DATA")] = Path("../shared/data")) -> None:
    """Write `table.npz` and `table.json`."""
    counts = np.full(LETTERS**3, PRIOR)
    for text in texts(data):
        counts += np.bincount(triples(places(f" {plain(text)} ")), minlength=LETTERS**3)
    cube = counts.reshape(LETTERS, LETTERS, LETTERS)
    table = np.log(cube / cube.sum(axis=2, keepdims=True)).ravel().astype(np.float16)
    np.savez_compressed(TABLE, log_probabilities=table)
    card = {
        "what": "natural logarithm of the probability of a letter given the two before it, in English",
        "data": {SOURCE: "Open-Assistant/oasst-model-eval, Apache-2.0; every other English response"},
        "triples": int(counts.sum()),
        "cannot": "languages other than English; names and terms are unlikely too, which is why shares of words count",
    }
    TABLE.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
