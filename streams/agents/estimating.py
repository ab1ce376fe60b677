"""Estimates once an hour how good each application's answers are, from what people and judges say of few of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from detectors.estimation import LEAST_LABELS, Estimate, FloatArray, cross_predicted, estimate_mean
from sinks.clickhouse import Store
from sinks.people import People

LOOKS_BACK = timedelta(days=30)
OTHERS = 5_000
"""Interactions beside the labelled ones: more would narrow the interval by nothing that one sees."""
MOST_VERSIONS = 8
PEOPLE = "people"


class Estimating:
    """The estimates of an installation; `advance` is one round and blocks."""

    every_seconds = 3_600.0

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store, self._people, self._clock = store, People(store), clock

    def advance(self) -> None:
        """Estimate every application of which anything is known."""
        now = self._clock()
        since = now - LOOKS_BACK
        for application in self._people.labelled_applications(since):
            found = self.estimates(application, since)
            rows = [
                {"application": application, "subject": subject, "estimated_at": now, "since": since, **asdict(each)}
                for subject, each in found.items()
            ]
            if rows:
                self._store.insert("estimates", rows)

    def estimates(self, application: str, since: datetime) -> dict[str, Estimate]:
        """By what people say, and by each judge and evaluation prompt; without what has too few labels."""
        everything = {row["interaction_id"]: row for row in self._people.signals_of(application, since, OTHERS)}
        judged: dict[str, dict[str, tuple[float, dict[str, Any]]]] = {}
        for row in self._people.judged(application, since):
            subject = f"{row['evaluation']} by {row['judge_model']}"
            judged.setdefault(subject, {})[row["interaction_id"]] = (row["score"], row)
        rated = {row["interaction_id"]: (row["rating"], row) for row in self._people.ratings(application, since)}
        found = {subject: _estimate(labelled, everything, {}) for subject, labelled in judged.items()}
        # what a judge says is one more signal of what people will say
        said = {subject: {one: score for one, (score, _) in each.items()} for subject, each in judged.items()}
        found[PEOPLE] = _estimate(rated, everything, said)
        return {subject: estimate for subject, estimate in found.items() if estimate is not None}


def _estimate(
    labelled: dict[str, tuple[float, dict[str, Any]]],
    everything: dict[str, dict[str, Any]],
    said: dict[str, dict[str, float]],
) -> Estimate | None:
    if len(labelled) < LEAST_LABELS:
        return None
    labels = np.array([label for label, _ in labelled.values()])
    rest = [row for one, row in everything.items() if one not in labelled]
    table = _features([*(row for _, row in labelled.values()), *rest], said)
    predicted = cross_predicted(table[: len(labels)], labels, table[len(labels) :])
    return estimate_mean(labels, *predicted, bounds=(min(0.0, labels.min()), max(1.0, labels.max())))


def _features(rows: Sequence[dict[str, Any]], said: dict[str, dict[str, float]]) -> FloatArray:
    """(rows, features) signals, what judges said, and the version of the model; NaN where there is none."""
    names = sorted({name for row in rows for name in row["signals"]})
    columns = [[row["signals"].get(name, np.nan) for row in rows] for name in names]
    columns += [[scores.get(row["interaction_id"], np.nan) for row in rows] for scores in said.values()]
    versions = [f"{row['model_name']} {row['model_version']}" for row in rows]
    common = sorted(set(versions), key=versions.count, reverse=True)[:MOST_VERSIONS]
    columns += [[float(version == each) for version in versions] for each in common]
    return np.array(columns, np.float64).T
