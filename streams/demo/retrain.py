"""The demonstration's retraining job: learns a retrieval responder anew from the bundle that tocsin exported.

The responder answers with what was answered to the closest prompt that it knows. Measured is how close that is for the
half of the drifted prompts that it never saw: before with the reference alone, after with the other half learned too.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer


def prompts(file: Path) -> list[str]:
    """The prompts of a JSON lines file."""
    return [json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines()]


def closeness(known: list[str], asked: list[str]) -> float:
    """Mean cosine between each asked prompt and the closest known one, over character n-grams."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=50_000)
    similar = vectorizer.fit_transform(known) @ vectorizer.transform(asked).T
    return float(np.asarray(similar.max(axis=0).todense()).mean())


def main() -> int:
    """Train, measure, report."""
    bundle = Path(os.environ["TOCSIN_BUNDLE"])
    reference, drifted = prompts(bundle / "reference.jsonl"), prompts(bundle / "drifted.jsonl")
    learned, held_out = drifted[::2], drifted[1::2]
    metrics = {
        "closeness_before": closeness(reference, held_out),
        "closeness_after": closeness(reference + learned, held_out),
        "prompts_learned": float(len(learned)),
    }
    report = {"state": "succeeded", "metrics": metrics, "detail": "the retrieval responder was learned anew"}
    request = urllib.request.Request(  # noqa: S310  the address is the gateway's own
        os.environ["TOCSIN_CALLBACK_URL"],
        json.dumps(report).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['TOCSIN_CALLBACK_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return 0 if answer.status == 202 else 1


if __name__ == "__main__":
    sys.exit(main())
