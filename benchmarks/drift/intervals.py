"""What is counted and averaged, with intervals and errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from benchmarks.drift.ledger import Record


def pages_over_budget(pages: Sequence[int], budget: float) -> tuple[float, float, float]:
    """False pages over the budget of all streams together, with a 95 % interval.

    The interval is Poisson's exact one (Garwood 1936) for the count over its crowding: one unlucky reference pages
    several times, so counts vary more between references than Poisson's do; dividing the count by the ratio of their
    variance to their mean turns it into about that many independent ones. Without a page: Poisson's, 3.7 at most.

    Args:
        pages: of each reference, all its streams together.
        budget: pages that were to be expected at most, over all references.
    """
    counts = np.asarray(pages, np.float64)
    total = float(counts.sum())
    crowding = max(1.0, float(counts.var(ddof=1) / counts.mean())) if total and len(counts) > 1 else 1.0
    low = float(stats.chi2.ppf(0.025, 2 * total / crowding)) / 2 * crowding if total else 0.0
    high = float(stats.chi2.ppf(0.975, 2 * total / crowding + 2)) / 2 * crowding
    return total / budget, low / budget, high / budget


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    found = np.asarray(values, np.float64)
    return float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.inf


def delays_at(time: int, method: str, units: int, threshold: str, delays: Mapping[str, Sequence[int]]) -> Record:
    """A line of the table: mean delays with standard errors; what was not found counts with the whole horizon."""
    found: Record = {"mean time": time, "method": method, "N": units, "threshold": threshold}
    for name, values in delays.items():
        mean, error = mean_error(values)
        found |= {name: round(mean, 1), f"{name} ±": round(error, 1), "runs": len(values)}
    return found
