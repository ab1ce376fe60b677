from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sinks import clickhouse
from sinks.clickhouse import Store, StoreIncompatible, StoreRejected, StoreUnavailable
from sinks.migrations import Migration, migrations, on_cluster

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def interaction(number: int, occurred_at: datetime = NOON) -> dict[str, Any]:
    vector = np.random.default_rng(number).standard_normal(384).astype(np.float32)
    return {
        "application": "shop",
        "interaction_id": f"id-{number}",
        "occurred_at": occurred_at,
        "prompt": "wörds " * 40,
        "context": ["one", "two"],
        "attributes": {"region": "eu"},
        "signals": {"toxicity": 0.25, "length": 3.0},
        "labels": {"language": "en"},
        "flags": ["cut"],
        "prompt_vector": vector,
        "response_vector": -vector,
        "source_partition": 3,
        "source_offset": number,
        "retention_days": 3650,
    }


def count(store: Store, table: str = "interactions") -> int:
    return int(store.query(f"SELECT count() AS rows FROM {table}")[0]["rows"])


def test_a_row_comes_back_as_it_was_stored(store: Store) -> None:
    row = interaction(7)
    store.insert("interactions", [row])
    (found,) = store.query("SELECT * FROM interactions WHERE interaction_id = {id:String}", {"id": "id-7"})
    for name in ("prompt_vector", "response_vector"):  # bfloat16 keeps 8 bits
        np.testing.assert_allclose(found.pop(name), row.pop(name), rtol=2**-7)
    assert {name: found[name] for name in row} == row
    assert abs(found["stored_at"] - datetime.now(UTC)) < timedelta(minutes=10)
    assert (found["environment"], found["response"], found["error"]) == ("", "", "")


def test_absent_values_and_raw_bytes_are_kept(store: Store) -> None:
    store.insert("feedback", [{"feedback_id": "a", "rating": None}, {"feedback_id": "b", "rating": 0.5}])
    assert store.query("SELECT rating FROM feedback ORDER BY feedback_id") == [{"rating": None}, {"rating": 0.5}]
    store.insert("dead_letters", [{"raw": b"\xff\x00{", "received_at": datetime.now(UTC), "retention_days": 1}])
    assert store.query("SELECT hex(raw) AS raw FROM dead_letters") == [{"raw": "FF007B"}]


def test_a_batch_of_500_with_two_vectors_is_stored_in_a_fraction_of_a_second(store: Store) -> None:
    rows = [interaction(number) for number in range(500)]
    store.insert("interactions", rows)
    began = time.perf_counter()
    store.insert("interactions", rows)
    assert time.perf_counter() - began < 1  # measured: 0.05


def test_a_repeated_insert_with_the_same_token_stores_nothing(store: Store) -> None:
    rows = [interaction(number) for number in range(10)]
    for _ in range(3):
        store.insert("interactions", rows, token="tocsin.interactions:0:0-10")
    assert count(store) == 10
    store.insert("interactions", rows, token="tocsin.interactions:0:10-20")
    assert count(store) == 20


def test_a_repeated_insert_over_several_months_stores_nothing(store: Store) -> None:
    rows = [interaction(number, NOON - timedelta(days=31 * number)) for number in range(110)]
    for _ in range(2):
        store.insert("interactions", rows, token="months")
    assert count(store) == 110


def test_of_two_copies_of_a_row_one_is_left(store: Store) -> None:
    for token in ("a", "b"):
        store.insert("interactions", [interaction(1)], token=token)
    assert count(store, "interactions FINAL") == 1


def test_content_that_does_not_fit_is_rejected_without_being_quoted(store: Store) -> None:
    bad: list[tuple[str, dict[str, object], str]] = [
        ("feedback", {"nonsense": 1}, "there is no column nonsense"),
        ("feedback", {"rating": "secret"}, "column rating"),
        ("feedback", {"author": None}, "column author: a value is missing"),
        ("feedback", {"text": "secret \ud800"}, "column text"),
        ("feedback", {"source_partition": -1}, "column source_partition"),
        ("interactions", {"signals": "secret"}, "column signals"),
    ]
    for table, row, fault in bad:
        with pytest.raises(StoreRejected, match=fault) as caught:
            store.insert(table, [row])
        assert "secret" not in str(caught.value)
        assert count(store, table) == 0


def test_one_bad_row_keeps_the_others_of_its_batch_out(store: Store) -> None:
    rows: list[dict[str, object]] = [{"feedback_id": "a", "text": "fine"}, {"feedback_id": "b", "text": 1}]
    with pytest.raises(StoreRejected):
        store.insert("feedback", rows)
    assert count(store, "feedback") == 0


def test_a_wrong_statement_is_rejected(store: Store) -> None:
    for sql in ("SELEC 1", "SELECT nonsense FROM pages", "SELECT {x:UInt8}", "SELECT nonsense(1)"):
        with pytest.raises(StoreRejected):
            store.query(sql)


def test_a_missing_table_is_unavailability_because_no_content_is_at_fault(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        store.query("SELECT * FROM nowhere")
    with pytest.raises(StoreUnavailable, match="nowhere"):
        store.insert("nowhere", [{"a": 1}])


def test_a_statement_beyond_its_limits_is_rejected_and_the_next_one_answers_rightly(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse, "READ_LIMITS", {**clickhouse.READ_LIMITS, "max_result_rows": 100_000})
    for _ in range(3):
        with pytest.raises(StoreRejected, match="TOO_MANY_ROWS_OR_BYTES"):
            store.query("SELECT number FROM numbers(1000000)")
        assert store.query("SELECT 1 AS one") == [{"one": 1}]


def test_parameters_are_values_and_never_statements(store: Store) -> None:
    value = "'; DROP TABLE pages; --"
    assert store.query("SELECT {v:String} AS v", {"v": value}) == [{"v": value}]


def test_many_threads_insert_and_read_at_once(store: Store) -> None:
    def work(number: int) -> int:
        store.insert("feedback", [{"feedback_id": str(number)}], token=str(number))
        return count(store, "feedback")

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(work, range(64)))
    assert min(seen) >= 1
    assert count(store, "feedback") == 64


def test_a_closed_store_opens_again_by_itself(store: Store) -> None:
    store.insert("feedback", [{"feedback_id": "a"}])
    store.close()
    assert count(store, "feedback") == 1


def test_migrating_again_or_at_once_from_many_threads_changes_nothing(store_path: Path) -> None:
    store = Store.embedded(store_path, "test_migrating_at_once")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(store.migrate) for _ in range(8)]:
            done.result()
    applied = store.query("SELECT version FROM schema_migrations FINAL ORDER BY version")
    assert [row["version"] for row in applied] == [migration.version for migration in migrations()]
    store.close()


def test_a_migration_that_was_cut_off_is_finished_by_the_next_start(store_path: Path) -> None:
    store = Store.embedded(store_path, "test_cut_off")
    store.migrate()
    kept = {"feedback_id": "kept"}
    store.insert("feedback", [kept])
    store._command("DROP TABLE incidents")
    store._command("TRUNCATE TABLE schema_migrations")
    store.migrate()
    assert count(store, "incidents") == 0
    assert count(store, "feedback") == 1
    store.close()


def test_a_database_that_is_newer_than_the_program_is_refused(store: Store) -> None:
    store.insert("schema_migrations", [{"version": 9999, "name": "future", "checksum": ""}])
    with pytest.raises(StoreIncompatible, match="has schema 9999, this program knows up to"):
        store.migrate()


def test_a_migration_that_was_changed_after_it_was_applied_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [Migration(migration.version, migration.name, migration.text + " ") for migration in migrations()]
    monkeypatch.setattr(clickhouse, "migrations", lambda: changed)
    with pytest.raises(StoreIncompatible, match="migration 0001 was changed"):
        store.migrate()


def test_migrations_are_numbered_without_holes() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_statement_may_hold_comments_and_semicolons() -> None:
    text = "-- one; two\nCREATE TABLE a (b String DEFAULT ';x');\n\n  -- three\nALTER TABLE a;\n"
    assert Migration(1, "m", text).statements() == [
        "CREATE TABLE IF NOT EXISTS a (b String DEFAULT ';x')",
        "ALTER TABLE a",
    ]


def test_on_a_cluster_every_table_is_made_on_all_servers_and_copied(store: Store) -> None:
    statements = [statement for each in migrations() for statement in each.statements("{cluster}")]
    for statement in statements:
        store.query(f"EXPLAIN AST {statement}")  # parsed by the engine, not run: copies need a keeper
        assert " ON CLUSTER '{cluster}'" in statement.partition("\n")[0]
        if statement.startswith("CREATE TABLE"):
            assert "ENGINE = ReplicatedReplacingMergeTree" in statement
            assert "non_replicated" not in statement
    assert len(statements) == sum(len(each.statements()) for each in migrations())


@pytest.mark.parametrize(
    ("statement", "rendered"),
    [
        ("CREATE DATABASE IF NOT EXISTS t", "CREATE DATABASE IF NOT EXISTS t ON CLUSTER 'main'"),
        ("ALTER TABLE a\n ADD COLUMN b UInt8", "ALTER TABLE a ON CLUSTER 'main'\n ADD COLUMN b UInt8"),
        (
            "CREATE TABLE IF NOT EXISTS a (b UInt64) ENGINE = ReplacingMergeTree(b) ORDER BY b",
            "CREATE TABLE IF NOT EXISTS a ON CLUSTER 'main' (b UInt64) "
            "ENGINE = ReplicatedReplacingMergeTree(b) ORDER BY b",
        ),
    ],
)
def test_a_statement_names_the_cluster_after_what_it_makes(statement: str, rendered: str) -> None:
    assert on_cluster(statement, "main") == rendered
    assert on_cluster(statement, "") == statement


def test_a_second_process_is_told_who_has_the_store_open(store: Store, store_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom sinks.clickhouse import Store, StoreInUse\n"
        "try:\n    Store.embedded(Path(sys.argv[1]), 'other')\nexcept StoreInUse as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(store_path)], capture_output=True, text=True, check=True)
    assert run.stdout.startswith(f"{store_path} is in use by process ")
    assert run.stderr == ""


def test_a_server_that_hangs_is_unavailability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse, "_ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait, and nobody reads them
        server = Store.server("127.0.0.1", silent.getsockname()[1], "default", "", False, "tocsin")
        with pytest.raises(StoreUnavailable, match=r"^no answer from ClickHouse at "):
            server.query("SELECT 1")
        server.close()


def test_a_server_that_does_not_answer_is_unavailability() -> None:
    server = Store.server("127.0.0.1", 1, "default", "", False, "tocsin")
    for call in (server.migrate, lambda: server.query("SELECT 1")):
        with pytest.raises(StoreUnavailable):
            call()
    server.close()
