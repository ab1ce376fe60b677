"""What an outage of the broker costs a service, and what is left of it: `python benchmarks/sdk_outage.py --minutes 10`.

A service publishes at a steady rate, straight to an embedded broker or through a gateway. The broker is killed, stays
away for the minutes given, and comes back. With `--kill` the service itself is killed in the middle of that, and
another one starts in its place. At the end it prints one JSON object: the duration of the calls, in microseconds, the
growth of the service's memory, and how many interactions were published, delivered and lost.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

import tocsin
from streams.engines.broker import EmbeddedBroker, free_port
from streams.settings import Broker
from streams.topics import ensure_topics
from tocsin.messages import INTERACTIONS

CALL = {"prompt": "How do I reset the device? " * 18, "response": "Hold the button for ten seconds. " * 15}
BEFORE_SECONDS, AFTER_SECONDS, RECOVERY_SECONDS = 5, 5, 300
GATEWAY = """
import sys, uvicorn
from pathlib import Path
from streams.gateway import create_gateway
from streams.settings import Settings
app = create_gateway(Settings(data_directory=Path(sys.argv[1])), sys.argv[2], verify_run=lambda *_: False)
uvicorn.run(app, port=int(sys.argv[3]), log_level="error")
"""


def serve(where: dict[str, str], spool: str, rate: float, seconds: float) -> None:
    """The service: publishes for so long, then waits until all is delivered. Prints a JSON object, last and before."""
    logging.getLogger("tocsin").setLevel(logging.ERROR)
    client = tocsin.Client("outage", **where, spool_directory=spool or None)  # type: ignore[arg-type]
    took: list[float] = []
    began, memory_before = time.monotonic(), 0
    while (at := time.monotonic() - began) < seconds:
        if len(took) == int(rate):
            memory_before = _memory_kb()
        if len(took) > at * rate:
            time.sleep(len(took) / rate - at)
        before = time.perf_counter_ns()
        client.publish(**CALL)  # type: ignore[arg-type]
        took.append((time.perf_counter_ns() - before) / 1_000)
        if len(took) % int(rate) == 0:
            _report(client, took, memory_before)
    client.flush(RECOVERY_SECONDS)
    client.close()
    _report(client, took, memory_before)


def _report(client: tocsin.Client, took: list[float], memory_before_kb: int) -> None:
    quantiles = statistics.quantiles(took, n=100)
    stats = {name: getattr(client.stats, name) for name in client.stats.__slots__}
    figures = {"calls": len(took), "median_us": round(quantiles[49], 1), "p99_us": round(quantiles[98], 1)}
    print(json.dumps({**figures, "memory_growth_mb": (_memory_kb() - memory_before_kb) / 1_000, **stats}), flush=True)


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def broker(directory: Path, port: int) -> Iterator[None]:
    """A broker with our topics."""
    with EmbeddedBroker(directory, port) as embedded:
        ensure_topics(Broker(bootstrap=embedded.bootstrap))
        yield


def delivered(bootstrap: str) -> tuple[int, int]:
    """Distinct interactions in the topic, and all messages in it."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(INTERACTIONS, n) for n in consumer.partitions_for_topic(INTERACTIONS)])
    ids: set[str] = set()
    count = 0
    while polled := consumer.poll(timeout_ms=3_000):
        for records in polled.values():
            count += len(records)
            ids.update(json.loads(record.value)["interaction_id"] for record in records)
    consumer.close()
    return len(ids), count


def run(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    port, http_port = free_port(), free_port()
    address, away = f"127.0.0.1:{port}", options.minutes * 60
    where = {"url": f"http://127.0.0.1:{http_port}"} if options.gateway else {"bootstrap": address}
    spool = "" if options.no_spool else str(directory / "spool")
    total = BEFORE_SECONDS + away + AFTER_SECONDS

    def service(seconds: float) -> tuple[subprocess.Popen[bytes], Path]:
        arguments = [json.dumps(where), spool, str(options.rate), str(seconds)]
        command = [sys.executable, __file__, "--serve", *arguments]
        said = directory / f"said-{time.monotonic_ns()}"  # a pipe that nobody reads would hold it up once it is full
        with said.open("wb") as out:
            return subprocess.Popen(command, stdout=out), said

    with ExitStack() as stack:
        if options.gateway:
            command = [sys.executable, "-c", GATEWAY, str(directory / "data"), address, str(http_port)]
            gateway = stack.enter_context(subprocess.Popen(command))
            stack.callback(gateway.terminate)
        with broker(directory / "broker", port):
            first = service(total)
            time.sleep(BEFORE_SECONDS + 2)
        services = [first]
        if options.kill:
            time.sleep(away / 2)
            first[0].kill()
            services.append(service(away / 2 + AFTER_SECONDS))
            time.sleep(away / 2)
        else:
            time.sleep(away)
        with broker(directory / "broker", port):
            for process, _ in services:
                process.wait()
            said = [json.loads(file.read_text().splitlines()[-1]) for _, file in services]
            time.sleep(2)
            distinct, messages = delivered(address)
    return {"outage_seconds": away, "services": said, "delivered": distinct, "repeated": messages - distinct} | {
        # a killed service has said how many calls it had made a moment before
        "published_at_least": (published := sum(one["calls"] for one in said)),
        "lost_at_least": max(0, published - distinct),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the broker is away")
    parser.add_argument("--rate", type=float, default=200.0, help="interactions a second, 1 kB each")
    parser.add_argument("--gateway", action="store_true", help="through a gateway, which spools as well")
    parser.add_argument("--kill", action="store_true", help="kill the service in the middle of the outage")
    parser.add_argument("--no-spool", action="store_true", help="a service without a spool, for comparison")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        where, spool, rate, seconds = options.serve
        serve(json.loads(where), spool, float(rate), float(seconds))
        return
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(run(options, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
