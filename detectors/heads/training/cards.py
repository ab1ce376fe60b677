"""What stands in the cards of the blended heads: thresholds and figures, all of rows that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.heads.training.blended import labels_of
from detectors.heads.training.measures import auroc_interval, calibration_error, percent
from detectors.heads.training.sentences import Sentence
from detectors.heads.training.sources import Row

__all__ = ["flagged", "held_out_figures", "least_threshold", "of_groups", "of_kinds", "source_of"]

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


def source_of(rows: Sequence[Row]) -> NDArray[np.str_]:
    """The source of each row (n,)."""
    return np.array([row.source for row in rows])


def least_threshold(harmless: Sequence[tuple[F64, float]], least: float) -> float:
    """The lowest threshold from `least` on that flags of every set of harmless scores at most its part."""
    bounds = [float(np.quantile(scores, 1 - part, method="higher")) for scores, part in harmless]
    return float(np.ceil(1_000 * max(least, *bounds)) / 1_000)


def flagged(probabilities: F64, thresholds: Sequence[float]) -> Bools:
    """Which rows (n,) have a probability (n, outputs) over its threshold."""
    found: Bools = np.any(probabilities > np.array(thresholds), axis=1)
    return found


def held_out_figures(
    rows: Sequence[Row], probabilities: F64, thresholds: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Per output the figures of all public rows together ("all"), and of each source by itself."""
    sources = source_of(rows)
    labels = labels_of(rows, tuple(thresholds))
    measured = np.array([row.measured for row in rows])
    public = measured & (sources != "own")
    chosen_by = {"all": public, **{name: measured & (sources == name) for name in dict.fromkeys(sources.tolist())}}
    found: dict[str, dict[str, Any]] = {}
    for column, (output, threshold) in enumerate(thresholds.items()):
        known = ~np.isnan(labels[:, column])
        found[output] = {
            name: _measured(labels[chosen & known, column] == 1, probabilities[chosen & known, column], threshold)
            for name, chosen in chosen_by.items()
            if (chosen & known).any()
        }
    return found


def of_groups(sentences: Sequence[Sentence], flags: Bools) -> dict[str, Any]:
    """Harmless sentences that were flagged and hostile ones that were found, in all and by group."""
    groups = np.array([one.group for one in sentences])
    hostile = np.array([one.attack for one in sentences])

    def shares(chosen: Bools) -> dict[str, Any]:
        return {
            "harmless": int((chosen & ~hostile).sum()),
            "harmless_flagged_percent": percent(flags[chosen & ~hostile]),
            "hostile": int((chosen & hostile).sum()),
            "hostile_found_percent": percent(flags[chosen & hostile]),
        }

    every = np.ones(len(sentences), dtype=bool)
    return {"all": shares(every), "groups": {name: shares(groups == name) for name in dict.fromkeys(groups.tolist())}}


def of_kinds(kinds: Sequence[tuple[str, bool]], flags: Bools) -> dict[str, Any]:
    """By kind of text, how many of its texts are flagged, which is right where `hostile` is true."""
    names = np.array([name for name, _ in kinds])
    return {
        name: {
            "hostile": hostile,
            "texts": int((names == name).sum()),
            "flagged_percent": percent(flags[names == name]),
        }
        for name, hostile in dict.fromkeys(kinds)
    }


def _measured(labels: Bools, scores: F64, threshold: float) -> dict[str, Any]:
    return {
        "rows": len(labels),
        "positives": int(labels.sum()),
        "auroc": auroc_interval(labels, scores),
        "calibration_error": round(calibration_error(labels, scores), 4),
        "found_percent": percent(scores[labels] > threshold),
        "harmless_flagged_percent": percent(scores[~labels] > threshold),
    }
