"""Command line of the scoring benchmark: `python -m benchmarks.scoring [--json] [--memory N] [--gpu]`."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy and torch read them
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable  # noqa: E402
from itertools import islice  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.scoring import contestants, traffic  # noqa: E402
from detectors.encoder import open_encoder  # noqa: E402
from detectors.scoring import Scorer  # noqa: E402

TARGETS = {contestants.BARE: 0.85, contestants.LIBRARY: 5.0}
"""What the scoring stage should reach of the throughput of these."""
ROUND = 60
notes = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--interactions", type=int, default=300, help="of the mixed traffic")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="score N short interactions instead")
    parser.add_argument("--gpu", type=int, nargs="?", const=100_000, default=0, metavar="N", help="N on a GPU instead")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "tocsin")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.memory:
        found: Any = memory(options.cache, options.memory)
    elif options.gpu:
        from benchmarks.scoring import gpu

        found = gpu.measure(options.cache, options.gpu)
    else:
        found = compare(options.cache, options.interactions)
    print(json.dumps(found, indent=None if options.json else 2, ensure_ascii=False))


def compare(cache: Path, count: int) -> dict[str, Any]:
    """Every contestant in turn on each part of the traffic, so that a busy machine is busy for all alike."""
    interactions = traffic.mixed(count)
    named = contestants.contestants(cache)
    seconds: dict[str, list[float]] = defaultdict(list)
    for part in track(contestants.pieces(interactions, ROUND), "scoring", console=notes):
        for name, prepare in named.items():
            seconds[name].append(cpu_seconds(prepare(part)))
    tokens = contestants.tokens_read(interactions)
    table = Table("one thread, a CPU-second", "interactions", "texts", "tokens read")
    for name, spent in seconds.items():
        table.add_row(name, *(f"{number / sum(spent):,.1f}" for number in (count, 2 * count, tokens[name])))
    notes.print(table)
    stage = seconds[contestants.STAGE]
    return {
        "interactions": count,
        "signals": len(Scorer(open_encoder("onnx", cache=cache)).outputs),
        "a CPU-second": {
            name: {"interactions": round(count / sum(spent), 2), "tokens": round(tokens[name] / sum(spent))}
            for name, spent in seconds.items()
        },
        "scoring stage / others": {
            name: {
                "interactions": round(sum(seconds[name]) / sum(stage), 2),
                "tokens": round(sum(seconds[name]) / sum(stage) * tokens[contestants.STAGE] / tokens[name], 2),
                "median of rounds": round(
                    statistics.median(a / b for a, b in zip(seconds[name], stage, strict=True)), 2
                ),
                "target": target,
            }
            for name, target in TARGETS.items()
        },
    }


def memory(cache: Path, count: int) -> dict[str, Any]:
    """Resident megabytes after each tenth of so many different interactions."""
    scorer = Scorer(open_encoder("onnx", cache=cache))
    draw = traffic.endless()
    megabytes = []
    for _ in track(range(10), "scoring", console=notes):
        for _ in range(0, count // 10, scorer.batch):
            scorer.score(list(islice(draw, scorer.batch)))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes.append(round(pages * resource.getpagesize() / 1e6))
    return {"interactions": count, "resident MB after each tenth": megabytes}


def cpu_seconds(run: Callable[[], object]) -> float:
    """Of all threads of this process."""
    before = time.process_time()
    run()
    return time.process_time() - before


if __name__ == "__main__":
    main()
