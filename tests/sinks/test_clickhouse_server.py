"""The store over HTTP, against a server that is chDB behind ClickHouse's HTTP interface."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import numpy as np
import pytest

from sinks.clickhouse import Store, StoreRejected, StoreUnavailable
from sinks.migrations import migrations
from streams.engines.broker import free_port
from tests.program import CLICKHOUSE, Program, until

pytestmark = pytest.mark.integration

VECTOR = np.tile(np.array([-1, -0.5, 0, 0.25], np.float32), 96)  # numbers that bfloat16 keeps as they are
VALUES: dict[str, Any] = {  # two of each type that a table of ours has
    "String": ("wörds \0 and ; 'quotes'\n", "x" * 100_000),
    "LowCardinality(String)": ("a", "b"),
    "UInt8": (0, 1),
    "UInt16": (3650, 3000),
    "UInt32": (0, 2**32 - 1),
    "UInt64": (7, 2**63),
    "Float64": (0.25, -1e300),
    "Nullable(Float64)": (None, 0.5),
    "DateTime64(3, 'UTC')": (datetime(2080, 3, 1, 12, 0, 0, 123_000, UTC), datetime(2090, 1, 1, tzinfo=UTC)),
    "Nullable(DateTime64(3, 'UTC'))": (None, datetime(2026, 3, 1, tzinfo=UTC)),
    "Array(String)": ([], ["one", "two"]),
    "Array(LowCardinality(String))": (["cut"], []),
    "Array(BFloat16)": (VECTOR, -VECTOR),
    "Map(LowCardinality(String), String)": ({}, {"region": "eu"}),
    "Map(LowCardinality(String), Float64)": ({"toxicity": 0.25, "length": 3.0}, {}),
    "Map(LowCardinality(String), LowCardinality(String))": ({"language": "en"}, {}),
}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("server")
    with Program([*CLICKHOUSE, "data", str(port)], directory, {}, ready="Uvicorn running") as started:
        yield started.start().await_ready()


@pytest.fixture
def store(server: Program, port: int) -> Iterator[Store]:
    opened = Store.server("127.0.0.1", port, "tocsin", "secret", False, f"test_{uuid.uuid4().hex}")
    opened.migrate()
    yield opened
    opened.close()


def count(store: Store, table: str) -> int:
    return int(store.query(f"SELECT count() AS rows FROM {table}")[0]["rows"])


def test_migrating_a_server_again_changes_nothing(store: Store) -> None:
    store.migrate()
    applied = store.query("SELECT version FROM schema_migrations FINAL ORDER BY version")
    assert [row["version"] for row in applied] == [migration.version for migration in migrations()]


def test_rows_of_every_table_come_back_as_they_were_stored(store: Store) -> None:
    columns = store.query("SELECT table, name, type FROM system.columns WHERE database = currentDatabase()")
    tables = sorted({column["table"] for column in columns})
    assert {"interactions", "ledger", "detector_states", "retraining_runs"} <= set(tables)
    for table in tables:
        types = {column["name"]: column["type"] for column in columns if column["table"] == table}
        rows = [{name: VALUES[kind][i] for name, kind in types.items()} for i in range(2)]
        store.insert(table, rows)
        version = "version IN (0, 4294967295)" if table == "schema_migrations" else "1"
        found = store.query(f"SELECT * FROM {table} WHERE {version}")
        for name in types:
            assert _shown(found, name) == _shown(rows, name), f"{table}.{name}"


def _shown(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Values of a column in an order of their own, as text."""
    return sorted(repr(row[name].tolist() if isinstance(row[name], np.ndarray) else row[name]) for row in rows)


def test_a_repeated_insert_with_the_same_token_stores_nothing(store: Store) -> None:
    for token in ("a", "a", "b"):
        store.insert("feedback", [{"feedback_id": "1"}], token=token)
    assert count(store, "feedback") == 2


def test_what_is_at_fault_itself_is_rejected_and_the_rest_is_unavailability(store: Store) -> None:
    for sql in ("SELEC 1", "SELECT nonsense FROM pages", "SELECT {x:UInt8}"):
        with pytest.raises(StoreRejected):
            store.query(sql)
    with pytest.raises(StoreRejected, match="column rating"):
        store.insert("feedback", [{"rating": "secret"}])
    with pytest.raises(StoreUnavailable, match="nowhere"):
        store.query("SELECT * FROM nowhere")
    assert store.query("SELECT {v:String} AS v", {"v": "'; DROP TABLE pages; --"}) == [{"v": "'; DROP TABLE pages; --"}]


def test_parameters_that_are_too_long_for_an_address_arrive(store: Store) -> None:
    values = [f"wörd 'no' {number}\n\t\\" for number in range(20_000)]
    assert store.query("SELECT {v:Array(String)} AS v", {"v": values}) == [{"v": values}]


def test_a_read_beyond_its_limits_is_rejected(store: Store) -> None:
    with pytest.raises(StoreRejected, match="TOO_MANY_ROWS_OR_BYTES"):
        store.query("SELECT number FROM numbers(10000000)")


def test_a_client_that_compresses_its_body_is_understood(port: int, store: Store) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, compress="lz4", database=store._database)
    client.insert("feedback", [["a", None], ["b", 0.5]], column_names=["feedback_id", "rating"])
    assert store.query("SELECT rating FROM feedback ORDER BY feedback_id") == [{"rating": None}, {"rating": 0.5}]
    client.close()


def test_a_server_that_is_away_is_named_and_what_it_held_is_there_when_it_is_back(
    server: Program, port: int, store: Store
) -> None:
    store.insert("feedback", [{"feedback_id": "kept"}])
    server.kill()
    for call in (
        lambda: store.query("SELECT {secret:String} AS s", {"secret": "secret"}),
        lambda: store.insert("feedback", [{"feedback_id": "x"}]),
    ):
        with pytest.raises(StoreUnavailable, match=f"ClickHouse at 127.0.0.1:{port}") as caught:
            call()
        assert "secret" not in str(caught.value)
    server.start().await_ready()
    assert store.query("SELECT feedback_id FROM feedback") == [{"feedback_id": "kept"}]


def test_a_server_that_is_killed_under_load_has_each_row_once_when_it_is_back(server: Program, store: Store) -> None:
    batches, stored = 60, 0

    def load() -> None:
        nonlocal stored
        while stored < batches:
            rows = [{"feedback_id": f"{stored}-{i}", "text": "x" * 1_000} for i in range(500)]
            try:
                store.insert("feedback", rows, token=str(stored))
                stored += 1
            except StoreUnavailable:
                time.sleep(0.05)

    loading = threading.Thread(target=load)
    loading.start()
    for enough in (10, 30):
        until(lambda: stored >= enough, "some batches are stored")  # noqa: B023  waited for at once
        server.kill()
        server.start().await_ready()
    loading.join(60)
    ids = store.query("SELECT count() AS rows, uniqExact(feedback_id) AS ids FROM feedback")
    assert ids == [{"rows": batches * 500, "ids": batches * 500}]
