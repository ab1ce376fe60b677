"""How wide the interval of a share of right answers is with few labels, and how often it covers the true share.

`python -m benchmarks.estimation`. Answers of four model versions to sums, of openai/grade-school-math (MIT), with their
true correctness: `interactions/gsm8k.jsonl.gz` in the directory that `TOCSIN_DATA` names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import sys
from pathlib import Path

import numpy as np

from detectors.estimation import Estimate, FloatArray, cross_predicted, estimate_mean

DATA = Path(os.environ.get("TOCSIN_DATA", Path(__file__).parents[2] / "shared" / "data"))


def answers(data: Path) -> tuple[FloatArray, FloatArray]:
    """What is read off each answer without knowing whether it is right (lengths, numbers, model), and if it is."""
    with gzip.open(data / "interactions" / "gsm8k.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    models = sorted({row["model"] for row in rows})
    found = []
    for row in rows:
        prompt, response = row["prompt"], row["response"]
        counts = [response.count("<<"), response.count("\n"), sum(letter.isdigit() for letter in response)]
        lengths = [math.log1p(len(prompt)), math.log1p(len(response)), sum(letter.isdigit() for letter in prompt)]
        found.append([*lengths, *counts, float("A:" in response), *(float(row["model"] == name) for name in models)])
    return np.array(found), np.array([float(row["is_correct"]) for row in rows])


def estimated(signals: FloatArray, labels: FloatArray, chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Estimate:
    """The estimate when only the chosen answers are labelled."""
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    predicted = cross_predicted(signals[chosen], labels[chosen], signals[rest])
    found = estimate_mean(labels[chosen], *predicted)
    assert found is not None
    return found


def main() -> None:
    """Print coverage and widths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=600, help="of labels, for each number of them")
    draws = range(parser.parse_args().draws)
    signals, labels = answers(DATA)
    truth, random = labels.mean(), np.random.default_rng(0)
    sys.stdout.write(
        f"{len(labels)} answers, {truth:.1%} right\nlabels  covered  width  labels alone: covered  width\n"
    )
    for count in (30, 100, 200, 500):
        found = [estimated(signals, labels, random.choice(len(labels), count, replace=False)) for _ in draws]
        covered = np.mean([one.low <= truth <= one.high for one in found])
        plain = np.mean([one.plain_low <= truth <= one.plain_high for one in found])
        width = np.mean([one.high - one.low for one in found])
        wide = np.mean([one.plain_high - one.plain_low for one in found])
        sys.stdout.write(f"{count}  {covered:.1%}  {width:.3f}  {plain:.1%}  {wide:.3f}\n")


if __name__ == "__main__":
    main()
