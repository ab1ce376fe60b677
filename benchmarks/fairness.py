"""How many units it takes to find a gap of 2 % against 4 %, and how often one is found where there is none.

`python -m benchmarks.fairness`: the same pairs and intervals as in the product, on made-up traffic, looked at every
50 units of it.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from detectors.fairness import Pairs

LEVELS = (0.05, 0.0005)
LEAST_UNITS = 100


def units_needed(rates: tuple[float, float], share: float, count: int, seed: int) -> dict[float, int]:
    """Units of the group at which its gap was certain, by level; nothing where it never was."""
    random, pairs = np.random.default_rng(seed), Pairs(1)
    pairs.add("group")
    found: dict[float, int] = {}
    for i in range(count):
        mine = random.random() < share
        value = np.array([float(random.random() < rates[not mine])])
        pairs.take(["group"] if mine else [], value, value)
        if i % 50 == 0:
            for level in set(LEVELS) - found.keys():
                for gap in pairs.gaps(level, LEAST_UNITS):
                    if gap.low > 0 or gap.high < 0:
                        found[level] = gap.units
    return found


def main() -> None:
    """Print the table of docs/fairness.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="of each kind")
    seeds = range(parser.parse_args().runs)
    sys.stdout.write("level  share  median  80 %  found\n")
    for share in (0.1, 0.5):
        runs = [units_needed((0.04, 0.02), share, 60_000 if share < 0.5 else 20_000, seed) for seed in seeds]
        for level in LEVELS:
            units = np.array([run.get(level, np.inf) for run in runs])
            median, most = np.median(units), np.quantile(units, 0.8, method="higher")
            sys.stdout.write(f"{level}  {share}  {median:.0f}  {most:.0f}  {np.isfinite(units).mean():.0%}\n")
    null = [units_needed((0.02, 0.02), 0.5, 10_000, seed) for seed in seeds]
    for level in LEVELS:
        sys.stdout.write(f"no gap, level {level}: found in {np.mean([level in run for run in null]):.1%} of runs\n")


if __name__ == "__main__":
    main()
