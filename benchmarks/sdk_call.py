"""What one `Client.publish` costs the service that calls it, in microseconds: `python benchmarks/sdk_call.py`.

Nothing listens at the address, so this is also the cost during an outage; the courier's thread competes for the
interpreter as it does in a service. Calls come in bursts of 50, as from a busy service, with a pause in between. Each
kind of call is timed without a spool and with one.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from typing import Any

import tocsin

TURN = {"role": "user", "content": "How do I reset the device to its factory settings? " * 4}
CALLS: dict[str, dict[str, Any]] = {
    "text": {"prompt": TURN["content"], "response": "Hold the button for ten seconds. " * 10},
    "text with fields": {
        "prompt": TURN["content"],
        "response": "Hold the button for ten seconds. " * 10,
        "session_id": "s-17",
        "latency_ms": 812.5,
        "model": {"name": "m", "version": "2"},
        "attributes": {"tenant": "acme", "region": "eu"},
    },
    "chat of 10 turns": {"prompt": [TURN] * 10, "response": "Hold the button for ten seconds. " * 10},
}
BURST = 50
PAUSE_SECONDS = 0.005


def microseconds(client: tocsin.Client, call: dict[str, Any], calls: int) -> list[float]:
    """The duration of each of `calls` calls."""
    took = []
    for i in range(calls):
        if i % BURST == 0:
            time.sleep(PAUSE_SECONDS)
        before = time.perf_counter_ns()
        client.publish(**call)
        took.append((time.perf_counter_ns() - before) / 1_000)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    options = parser.parse_args()
    logging.getLogger("tocsin").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        for name, call in CALLS.items():
            for spool in (None, directory):
                client = tocsin.Client(
                    "benchmark", url="http://127.0.0.1:9", queue_size=options.calls, spool_directory=spool
                )
                took = microseconds(client, call, options.calls)
                client.close(timeout=0)
                quantiles = statistics.quantiles(took, n=100)
                figures = {"median_us": round(quantiles[49], 1), "p99_us": round(quantiles[98], 1)}
                print(json.dumps({"call": name, "spool": spool is not None, **figures}))


if __name__ == "__main__":
    main()
