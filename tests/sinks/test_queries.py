"""Every statement that reads, over a real store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from sinks.queries import STATEMENTS, Queries

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PARAMETERS: Mapping[str, object] = {
    "since": NOW - timedelta(days=1),
    "until": NOW,
    "step": 300,
    "application": "it's a \\ bot; DROP TABLE incidents",
    "segment": "it's",
    "streams": ["prompt", "it's"],
    "incident_id": "i'1",
    "page_ids": ["p'1", "p\\2"],
    "interaction_ids": ["x'1"],
    "topic": "it's",
    "reason": "it's",
    "ids": ["l'1"],
    "after_topic": "it's",
    "after_partition": 3,
    "after_offset": 7,
    "limit": 10,
}


class Store(Protocol):
    def insert(self, table: str, rows: Sequence[Mapping[str, object]], token: str = "") -> None: ...

    def query(self, sql: str, parameters: Mapping[str, Any] = ...) -> list[dict[str, Any]]: ...


def wanted(statement: str) -> dict[str, object]:
    return {name: PARAMETERS[name] for name in re.findall(r"\{(\w+):", statement)}


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_runs_on_empty_tables(store: Store, name: str) -> None:
    rows = Queries(store).read(name, **wanted(STATEMENTS[name]))
    assert rows == ([{"pages": 0}] if name == "pages_sent" else [])


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_only_reads(name: str) -> None:
    assert STATEMENTS[name].split()[0] == "SELECT"
    assert ";" not in STATEMENTS[name]


def test_a_row_that_was_written_twice_counts_once(store: Store) -> None:
    row = {"application": "bot", "interaction_id": "1", "occurred_at": NOW, "retention_days": 3650}
    store.insert("interactions", [row])
    store.insert("interactions", [row])
    assert [one["interactions"] for one in Queries(store).read("traffic", since=NOW - timedelta(1), step=60)] == [1]


def test_the_newest_version_of_a_row_is_the_one_that_is_read(store: Store) -> None:
    moments = dict.fromkeys(("opened_at", "began_at", "updated_at"), NOW)
    row = {"incident_id": "i", "application": "bot", "title": "t", "page_ids": ["p"], "streams": ["s"], "report": ""}
    store.insert("incidents", [row | moments | {"state": "firing", "version": 1}])
    assert len(Queries(store).read("incidents_open")) == 1
    store.insert("incidents", [row | moments | {"state": "resolved", "version": 2}])
    assert Queries(store).read("incidents_open") == []
    (incident,) = Queries(store).read("incident", incident_id="i")
    assert (incident["state"], incident["opened_at"]) == ("resolved", NOW)


def test_the_evidence_now_is_that_of_the_last_batch(store: Store) -> None:
    row = {"application": "bot", "stream": "prompt", "latched": 0}
    store.insert(
        "evidence",
        [
            row | {"occurred_at": NOW, "units": 20, "evidence": 0.2},
            row | {"occurred_at": NOW - timedelta(minutes=1), "units": 10, "evidence": 0.9},
        ],
    )
    (now,) = Queries(store).read("evidence_now", since=NOW - timedelta(days=1))
    assert (now["evidence"], now["units"], now["last_at"]) == (0.2, 20, NOW)


def test_the_ledger_finds_offsets_that_were_passed_over_and_counts_that_do_not_add_up(store: Store) -> None:
    def ranges(partition: int, *spans: tuple[int, int, int]) -> list[dict[str, object]]:
        fixed = {"topic": "t", "source_partition": partition, "dead_lettered": 1, "duplicate": 0}
        return [fixed | {"first_offset": a, "next_offset": b, "stored": stored} for a, b, stored in spans]

    store.insert("ledger", ranges(0, (100, 110, 9), (110, 120, 9)))  # complete; what came before was never ours
    store.insert("ledger", ranges(1, (0, 10, 9), (15, 20, 4)))
    store.insert("ledger", ranges(2, (0, 10, 7)))
    store.insert("ledger", ranges(3, (0, 10, 9), (5, 12, 6), (11, 20, 8)))  # overlapping after a redelivery
    found = {row["partition"]: (row["missing"], row["unaccounted"]) for row in Queries(store).read("ledger")}
    assert found == {0: (0, 0), 1: (5, 0), 2: (0, 2), 3: (0, 0)}
