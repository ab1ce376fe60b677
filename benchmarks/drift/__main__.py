"""Command line of the drift benchmark."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy reads them
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
from pathlib import Path  # noqa: E402

from benchmarks.drift import bench  # noqa: E402


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description="The drift benchmark.")
    parser.add_argument("--only", nargs="+", choices=bench.FAMILIES, metavar="FAMILY", help=", ".join(bench.FAMILIES))
    parser.add_argument("--match", default="", help="only cells in whose name this stands, such as '\"units\": 10000'")
    parser.add_argument("--quick", action="store_true", help="three minutes; fails when the page budget is not held")
    parser.add_argument("--peers", action="store_true", help="also the packages of others, slow at the first run")
    parser.add_argument("--json", action="store_true", help="print every row as JSON, and write no document")
    parser.add_argument("--report", action="store_true", help="run nothing; report what was run already")
    parser.add_argument("--minutes", type=float, default=58, help="stop after so long; another run does the rest")
    parser.add_argument("--share", type=float, default=1.0, help="of the runs of every cell; another run does the rest")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of one thread each")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "tocsin", help="vectors and results")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where benchmark-drift.md and images/ go")
    return bench.bench(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
