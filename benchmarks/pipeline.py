"""How fast interactions become rows: `python -m benchmarks.pipeline`, or `make bench-pipeline`.

    this process: tocsin.Client ─▶ broker ─▶ a process of its own: SCORE ─▶ chDB ─▶ the overview page

One score worker, interactions of 1 kB. First as many as can be stored, published without a pause; then a steady stream
at half that rate, of which it tells how long after `publish` an interaction is stored, and how long after it the
overview counts it. The scorer is a stub: vectors and signals by a hash of the text, about as many as there really are.

    --scorer signals    stubs the encoder alone
    --scorer real       stubs nothing, and compares with what the scorer does by itself
    --bootstrap HOST    a Kafka with our topics or none of them, instead of an embedded broker
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from threading import Event, Thread
from typing import Any, get_args

import httpx

import tocsin
from benchmarks.stubs import Kind, open_stub
from streams.engines import EmbeddedBroker, open_engines, tether
from streams.engines.broker import free_port
from streams.logs import log_to_stderr
from streams.pipeline import run_workers
from streams.service import serve
from streams.settings import Broker, Gateway, Settings

QUEUED = 20_000
PATIENCE_SECONDS = 300
POLL_SECONDS = 0.25  # each look costs the process that is measured some 50 ms
_WORDS = """
    the order parcel invoice refund my account password device please how where when cannot find reset deliver friday
    street number colour battery screen camera return label shop warranty repair price month contract cancel
"""


def work(directory: Path, bootstrap: str, port: int, kind: Kind) -> None:
    """The process that is measured: the score worker, the store and the pages."""
    log_to_stderr("warning")
    settings = Settings(
        data_directory=directory, broker=Broker(bootstrap=bootstrap), gateway=Gateway(port=port), disk_free_bytes=0
    )
    start = partial(run_workers, scorer=partial(open_stub, kind))
    with open_engines(settings) as engines:
        asyncio.run(serve(settings, engines, ["score"], gateway=True, announce=lambda _: None, start=start))


class System:
    """What the process that is measured answers."""

    def __init__(self, port: int, process_id: int) -> None:
        self._process_id = process_id
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def row(self, sql: str) -> dict[str, Any]:
        """The only row of a SELECT."""
        return dict(self._client.post("/v1/sql", content=sql).raise_for_status().json()[0])

    def visible(self, application: str) -> int:
        """The interactions that the overview counts."""
        table = csv.DictReader(io.StringIO(self._client.get("/overview.csv").raise_for_status().text))
        return next((int(row["interactions"]) for row in table if row["application"] == application), 0)

    def cpu_seconds(self) -> float:
        """What the process has used so far, all its threads together."""
        fields = Path(f"/proc/{self._process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def serves(self) -> bool:
        try:
            return self._client.get("/healthz").is_success
        except httpx.HTTPError:
            return False

    def until_stored(self, application: str, wanted: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        sql = f"SELECT count() AS n FROM interactions WHERE application = '{application}'"
        while (found := int(self.row(sql)["n"])) < wanted:
            if time.monotonic() > deadline:
                sys.exit(f"{found} of {wanted} interactions are stored, and no more come")
            time.sleep(0.2)


@contextmanager
def started(bootstrap: str, kind: Kind) -> Iterator[tuple[System, str]]:
    """The system, and the broker's address."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bootstrap = bootstrap or stack.enter_context(EmbeddedBroker(directory / "broker")).bootstrap
        port = free_port()
        # tied to this process, however that ends
        command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), sys.executable]
        command += ["-m", "benchmarks.pipeline", "--work", str(directory / "data"), str(port)]
        process = subprocess.Popen([*command, "--bootstrap", bootstrap, "--scorer", kind])
        stack.callback(process.wait)
        stack.callback(process.terminate)
        system = System(port, process.pid)
        while not system.serves():
            if process.poll() is not None:
                sys.exit("the process that is measured has ended")
            time.sleep(0.2)
        yield system, bootstrap


def interactions() -> Iterator[dict[str, Any]]:
    """Arguments of `publish` that make a message of 1 kB."""
    dice, words = random.Random(0), _WORDS.split()
    pieces = [" ".join(dice.choices(words, k=60)) for _ in range(1_000)]
    for number in count():
        yield {
            "prompt": f"{number} {dice.choice(pieces)}",
            "response": f"{dice.choice(pieces)} {number}",
            "session_id": f"session-{number}",
        }


def flat_out(
    system: System, bootstrap: str, application: str, seconds: float, most: float = math.inf
) -> tuple[int, float]:
    """Publish without a pause: how many interactions, and stored a second, from the first call to the last row."""
    published = 0
    with tocsin.Client(application, bootstrap=bootstrap, queue_size=2 * QUEUED) as client:
        began = time.time()
        for values in interactions():
            if time.time() > began + seconds or published >= most:
                break
            while published - client.stats.acknowledged > QUEUED:
                time.sleep(0.001)
            client.publish(**values)
            published += 1
        client.flush(PATIENCE_SECONDS)
    system.until_stored(application, published)
    last = system.row(f"SELECT max(toFloat64(stored_at)) AS at FROM interactions WHERE application = '{application}'")
    return published, published / (float(last["at"]) - began)


def steady(
    system: System, bootstrap: str, application: str, per_second: float, seconds: float
) -> tuple[list[float], list[float], list[float]]:
    """Publish at a rate: seconds that the calls took, seconds until stored, seconds until the overview counts it."""
    calls, at, looks, done = list[float](), list[float](), list[tuple[float, int]](), Event()

    def look() -> None:
        while not done.is_set() or looks[-1][1] < len(at):
            seen = system.visible(application)
            looks.append((time.time(), seen))
            done.wait(POLL_SECONDS)

    looking = Thread(target=look)
    looking.start()
    with tocsin.Client(application, bootstrap=bootstrap, queue_size=2 * QUEUED) as client:
        began, source = time.time(), interactions()
        while (elapsed := time.time() - began) < seconds:
            while len(at) < elapsed * per_second:
                values, before = next(source), time.perf_counter()
                client.publish(**values)
                calls.append(time.perf_counter() - before)
                at.append(time.time())
            time.sleep(0.002)
        client.flush(PATIENCE_SECONDS)
    system.until_stored(application, len(at))
    done.set()
    looking.join()
    sql = f"""SELECT quantilesExact(0.5, 0.99)(toFloat64(stored_at) - toFloat64(occurred_at)) AS seconds
              FROM interactions WHERE application = '{application}'"""
    seen = [count for _, count in looks]
    visible = [looks[bisect_left(seen, number + 1)][0] - published for number, published in enumerate(at)]
    return calls, list(system.row(sql)["seconds"]), quantiles(visible)


def quantiles(seconds: Sequence[float]) -> list[float]:
    """The median and the 99th percentile."""
    cut = statistics.quantiles(seconds, n=100)
    return [cut[49], cut[98]]


def alone(kind: Kind, seconds: float) -> float:
    """Interactions a second that the scorer does by itself, called as the score stage calls it."""
    settings = Settings()
    scorer, said, done = open_stub(kind, settings), interactions(), 0

    def pieces() -> list[list[tocsin.Interaction]]:  # always others: the encoder remembers texts
        made = (tocsin.Interaction(application="alone", **values) for values in said)
        return [list(islice(made, scorer.batch)) for _ in range(settings.scoring.threads)]

    with ThreadPoolExecutor(settings.scoring.threads) as pool:
        list(pool.map(scorer.score, pieces()))  # the first ones are slower
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            done += sum(len(scores) for scores in pool.map(scorer.score, pieces()))
    return done / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", choices=get_args(Kind), default="stub")
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--seconds", type=float, default=20, help="of each of the streams")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(Path(options.work[0]), options.bootstrap, int(options.work[1]), options.scorer)
        return
    scorer_per_second = 0.0 if options.scorer == "stub" else alone(options.scorer, options.seconds)
    with started(options.bootstrap, options.scorer) as (system, bootstrap):
        # not more than it can score in that time: the broker would take ten minutes' work in a second
        rate = scorer_per_second or math.inf
        flat_out(system, bootstrap, "warming", 2, 2 * rate)
        before = system.cpu_seconds()
        published, per_second = flat_out(system, bootstrap, "flat-out", options.seconds, options.seconds * rate)
        cpu = (system.cpu_seconds() - before) / published
        calls, stored, visible = steady(system, bootstrap, "steady", per_second / 2, options.seconds)
    broker = "Kafka" if options.bootstrap else "embedded"
    print(f"{os.cpu_count()} cores, {broker} broker, scorer: {options.scorer}; {published:,} interactions")
    print(f"stored                 {per_second:8,.0f} a second, {cpu * 1e6:,.0f} µs of processor time each")
    if scorer_per_second:
        print(f"the scorer by itself   {scorer_per_second:8,.0f} a second: {per_second / scorer_per_second:.0%} of it")
    print(f"at half that rate      {'median':>8} {'99 %':>10}")
    for name, pair in (
        ("publish() took", quantiles(calls)),
        ("until stored", stored),
        ("until on the overview", visible),
    ):
        print(f"  {name:21} {pair[0] * 1_000:8.3f} ms {pair[1] * 1_000:7.3f} ms")


if __name__ == "__main__":
    main()
