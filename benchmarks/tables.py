"""How long the reads take that must stay fast as the tables grow: `python -m benchmarks.tables --rows 5000000`.

Fills a table of interactions (30 days, three applications, ids in the order of time; no texts, no vectors: none of
these reads touches them) and one of the ledger, and prints milliseconds: the median of several runs of each. Traffic is
also read from a table of minutes made of the first one, which the product has not: that is what it would gain.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clickhouse_connect

from sinks.clickhouse import Store
from sinks.queries import Queries
from sinks.recovery import Recovery
from tocsin.contracts import Interaction, new_id
from tocsin.messages import INTERACTIONS

RUNS = 7
DATABASE = "tocsin"
STEP = 500_000  # rows of one insert
FILL = """
    INSERT INTO interactions (application, interaction_id, occurred_at, session_id, model_name, model_version, signals,
                              source_partition, source_offset, retention_days)
    SELECT concat('application ', toString(number % 3)),
           -- as UUIDv7: milliseconds first
           concat(lower(hex(toUInt64(toUnixTimestamp64Milli(at)))), '-', toString(generateUUIDv4(number))),
           now64(3, 'UTC') - toIntervalMillisecond(toUInt64((1 - number / {rows:UInt64}) * 2592000000)) AS at,
           toString(intDiv(number, 3)), 'model', toString(intDiv(number * 4, {rows:UInt64})),
           map('prompt.toxicity', rand(1) / 4294967295., 'relevance', rand(2) / 4294967295.),
           number % 4, intDiv(number, 4), 90
    FROM numbers({first:UInt64}, {count:UInt64})"""
MINUTES = """
    CREATE TABLE minutes ENGINE = ReplacingMergeTree(interactions) ORDER BY (application, minute) AS
    SELECT application, toStartOfMinute(occurred_at) AS minute, count() AS interactions, countIf(error != '') AS errors
    FROM interactions FINAL GROUP BY application, minute"""
FROM_MINUTES = """
    SELECT application, toStartOfInterval(minute, toIntervalSecond({step:UInt32})) AS at, sum(interactions), sum(errors)
    FROM minutes FINAL WHERE minute >= {since:DateTime('UTC')} GROUP BY application, at ORDER BY application, at"""
LEDGER = """
    INSERT INTO ledger (topic, source_partition, first_offset, next_offset, stored)
    SELECT 'tocsin.interactions', number % 4, intDiv(number, 4) * 10, intDiv(number, 4) * 10 + 10, 10
    FROM numbers({count:UInt64})"""


def fill(path: Path, rows: int) -> None:
    """The rows, in several inserts, merged as time allows; the ledger as of batches of ten."""
    with clickhouse_connect.get_client(interface="chdb", path=str(path)) as client:
        client.database = DATABASE
        for first in range(0, rows, STEP):
            client.command(FILL, {"rows": rows, "first": first, "count": min(STEP, rows - first)})
        client.command(LEDGER, {"count": rows // 10})
        client.command(MINUTES)


def _said(interaction_id: str, occurred_at: datetime) -> Interaction:
    values = {"interaction_id": interaction_id, "occurred_at": occurred_at, "prompt": "", "response": ""}
    return Interaction(application="application 0", **values)


def milliseconds(read: Callable[[], object]) -> float:
    """The median of several runs, after one that warms the caches."""
    read()
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        read()
        took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        store = Store.embedded(Path(directory), DATABASE)
        store.migrate()
        fill(Path(directory), options.rows)
        queries, recovery, now = Queries(store), Recovery(store), datetime.now(UTC)
        latest = """SELECT interaction_id, occurred_at FROM interactions
                    WHERE application = 'application 0' AND occurred_at > now() - 3600 LIMIT 500"""
        known = [_said(**row) for row in store.query(latest)]
        fresh = [_said(new_id(), now) for _ in range(500)]
        foreign = [_said(str(uuid.uuid4()), now) for _ in range(500)]
        day, month = now - timedelta(days=1), now - timedelta(days=30)
        reads: dict[str, Callable[[], object]] = {
            "traffic of 24 hours": lambda: queries.read("traffic", since=day, step=300),
            "traffic of 30 days": lambda: queries.read("traffic", since=month, step=21_600),
            "… of 24 hours, from minutes": lambda: store.query(FROM_MINUTES, {"since": day, "step": 300}),
            "… of 30 days, from minutes": lambda: store.query(FROM_MINUTES, {"since": month, "step": 21_600}),
            "models of 30 days": lambda: queries.read("versions", since=month),
            "are 500 new ids stored": lambda: recovery.stored_interactions(fresh),
            "are 500 random ids stored": lambda: recovery.stored_interactions(foreign),
            "are 500 ids stored that are": lambda: recovery.stored_interactions(known),
            "where is the ledger": lambda: recovery.next_offsets(INTERACTIONS, range(4)),
            "is the ledger exact": lambda: queries.read("ledger"),
        }
        print(f"{options.rows:,} interactions, {options.rows // 10:,} ranges in the ledger, {os.cpu_count()} cores")
        for name, read in reads.items():
            print(f"{name:30} {milliseconds(read):8.1f} ms", flush=True)
        store.close()


if __name__ == "__main__":
    main()
