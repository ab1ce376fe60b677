"""The store: ClickHouse, as a server or embedded in this process (chDB), behind one class.

What goes wrong is one of these:

    StoreError
    ├── StoreUnavailable    try again, for ever: the same call can succeed later
    ├── StoreRejected       never try again: this content or this statement is at fault
    ├── StoreInUse          stop at start-up: another process has the embedded engine's directory open
    └── StoreIncompatible   stop at start-up: the database belongs to another version of the program

Both engines give the same error codes, which tell the first two apart. Only codes that accuse the content or the
statement are rejections; whatever else happens, known or not, is unavailability, because a message that is retried too
often costs time and one that is rejected wrongly costs data.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError, ProgrammingError

from sinks.columns import ColumnRefused, arrow_table
from sinks.migrations import Migration, migrations, on_cluster

T = TypeVar("T")

# https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
_CONTENT = {
    *(6, 26, 27, 38, 41, 69, 70, 72, 117, 130, 131, 349, 407, 469),  # cannot be parsed, converted or allowed
    *(16, 19, 20, 34, 35, 36, 42, 43, 44, 46, 47, 48, 50, 53, 62, 73, 115, 153, 215, 386, 395, 456, 457),  # statement
}
_LIMIT = {158, 159, 160, 241, 307, 396}  # the limits of one query, below

_REPEATED = re.compile(
    r"^(Received ClickHouse exception, code: \d+, server response: )?Code: \d+\. DB::Exception: "
    r"|(: |\. )In (scope|query) .*| \([A-Z_0-9]+\)( \(version .*)?( \(for url .*)?$"
)
"""Of what the engine says: the code again, the statement again with our limits in it, and where the server is."""

READ_LIMITS: Mapping[str, object] = {
    "max_execution_time": 30,
    "max_memory_usage": 1_500_000_000,
    "max_result_rows": 1_000_000,
    "result_overflow_mode": "throw",
}
_ANSWER_SECONDS = 35  # a server that hangs is away; one that works ends a query after 30 s by itself
_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'))
ENGINE = ReplacingMergeTree ORDER BY version""".strip()
_WRITE: Mapping[str, object] = {
    "async_insert": 0,  # stored when the call returns
    # a batch that spans years is unusual, not wrong, and would otherwise look like a store with too many parts
    "max_partitions_per_insert_block": 0,
}


class StoreError(Exception):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):
    """It cannot do it now: try again, for ever."""


class StoreRejected(StoreError):
    """It never will: the content or the statement is at fault."""


class StoreInUse(StoreError):
    """Another process has the embedded engine's directory open."""


class StoreIncompatible(StoreError):
    """The database was made by another version of the program."""


def _translated(error: ClickHouseError, reading: bool, where: str) -> StoreError:
    code: int | None = getattr(error, "code", None)
    if code is None and isinstance(error, OperationalError):  # its text quotes the address, with our parameters in it
        return StoreUnavailable(f"no answer from {where}")
    what = f"{getattr(error, 'name', None) or type(error).__name__} ({code})"
    if reading and code is not None:  # of an insert the engine quotes the content, which belongs in no log
        what = f"{what}: {_REPEATED.sub('', str(error).partition(chr(10))[0])}"
    at_fault = code in _CONTENT or (reading and code in _LIMIT)
    unsent = code is None and isinstance(error, DataError | ProgrammingError)
    return StoreRejected(what) if at_fault or unsent else StoreUnavailable(what)


def _check_free(path: Path) -> None:
    """Raise `StoreInUse` before the engine does, which only says so on standard error."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (path / "status").open("rb") as status:
            try:
                fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = status.readline().decode(errors="replace").removeprefix("PID:").strip()
                if owner != str(os.getpid()):
                    raise StoreInUse(f"{path} is in use by process {owner}") from None
    except FileNotFoundError:
        return  # never opened
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be used: {error.strerror}") from None


class Store:
    """Our tables, in one database. Safe to use from many threads: each gets a client of its own.

    Made by `Store.embedded` or `Store.server`; nothing is contacted before the first call. Inserts are at-least-once:
    after `StoreUnavailable` the rows may be there, and the same call with the same token stores them once.
    """

    def __init__(self, connect: Callable[[], Client], database: str, where: str, cluster: str = "") -> None:
        self._connect, self._database, self._where, self._cluster = connect, database, where, cluster
        # on a cluster, stored means: on most of its servers
        self._write = {**_WRITE, **({"insert_quorum": "auto"} if cluster else {})}
        self._local = threading.local()
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._types: dict[str, dict[str, str]] = {}

    @classmethod
    def embedded(cls, path: Path, database: str) -> Store:
        """The engine in this process, its data under `path`: one path a process, one process a path, and never forked.

        Raises:
            StoreInUse: another process has it open.
            StoreUnavailable: the directory cannot be made or written.
        """
        _check_free(path)

        def connect() -> Client:
            return clickhouse_connect.get_client(interface="chdb", path=str(path), tz_mode="aware")

        return cls(connect, database, f"the embedded engine at {path}")

    @classmethod
    def server(
        cls, host: str, port: int, user: str, password: str, secure: bool, database: str, cluster: str = ""
    ) -> Store:
        """A ClickHouse server, over HTTP or, if `secure`, HTTPS; with `cluster`, one whose servers hold copies."""

        def connect() -> Client:
            return clickhouse_connect.get_client(
                host=host,
                port=port,
                username=user,
                password=password,
                secure=secure,
                tz_mode="aware",
                connect_timeout=5,
                send_receive_timeout=_ANSWER_SECONDS,
                autogenerate_session_id=False,  # a session would let no two requests run at once
            )

        return cls(connect, database, f"ClickHouse at {host}:{port}", cluster)

    def _client(self) -> Client:
        """This thread's client, made if it has none or if its last call failed."""
        kept: Client | None = getattr(self._local, "client", None)
        if kept is not None and not self._local.spoilt:
            return kept
        client = self._connect()
        client.database = self._database  # need not exist before `migrate`
        self._clients.add(client)
        self._local.client, self._local.spoilt = client, False
        if kept is not None:
            kept.close()  # last, because the embedded engine shuts down with its last client
        return client

    def _call(self, work: Callable[[Client], T], reading: bool) -> T:
        try:
            return work(self._client())
        except ClickHouseError as error:
            # chDB would answer this client's next query with what is left of the one that failed
            self._local.spoilt = True
            raise _translated(error, reading, self._where) from None
        except OSError as error:  # a full disk under the file that an insert goes through
            raise StoreUnavailable(type(error).__name__) from None

    def migrate(self) -> None:
        """Bring the database to the program's schema; harmless when several workers do it at once.

        Raises:
            StoreIncompatible: it is newer than the program, or an applied migration is not the program's.
        """
        database = f"CREATE DATABASE IF NOT EXISTS {self._database}"
        self._command(on_cluster(database, self._cluster), use_database=False)
        self._command(on_cluster(_MIGRATIONS, self._cluster))
        applied = {row["version"]: row for row in self.query("SELECT * FROM schema_migrations FINAL")}
        known = {migration.version: migration for migration in migrations()}
        if unknown := sorted(applied.keys() - known.keys()):
            raise StoreIncompatible(
                f"database {self._database} has schema {unknown[-1]}, this program knows up to {max(known)}: "
                "use a newer program"
            )
        for version, migration in known.items():
            if version not in applied:
                self._apply(migration)
            elif applied[version]["checksum"] != migration.checksum:
                raise StoreIncompatible(
                    f"migration {version:04} was changed after database {self._database} applied it"
                )

    def _apply(self, migration: Migration) -> None:
        for statement in migration.statements(self._cluster):
            self._command(statement)
        row = {"version": migration.version, "name": migration.name, "checksum": migration.checksum}
        self.insert("schema_migrations", [row])

    def _command(self, statement: str, use_database: bool = True) -> None:
        self._call(lambda client: client.command(statement, use_database=use_database), reading=True)

    def insert(self, table: str, rows: Sequence[Mapping[str, object]], token: str = "") -> None:
        """Store rows; when it returns they are on disk.

        Args:
            table: one of our tables.
            rows: with the same keys each; keys that are left out get the column's default. Vectors as numpy float32.
            token: of two inserts into a table with the same token, within its last 1,000, the second is dropped
                whatever it holds: name the rows' source by it.

        Raises:
            StoreUnavailable: perhaps stored, perhaps not; try again with the same token.
            StoreRejected: not stored, and never will be; one of the rows at least is at fault.
        """
        if not rows:
            return
        try:
            columns = arrow_table(rows, self._column_types(table))
        except ColumnRefused as error:
            raise StoreRejected(f"{table}: {error}") from None
        settings = self._write | ({"insert_deduplication_token": token} if token else {})
        self._call(lambda client: client.insert_arrow(table, columns, settings=settings), reading=False)

    def _column_types(self, table: str) -> dict[str, str]:
        """ClickHouse's types; kept, because migrations run before anything else."""
        if table not in self._types:
            found = self.query(
                "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String}",
                {"database": self._database, "table": table},
            )
            if not found:
                raise StoreUnavailable(f"there is no table {table} in database {self._database}")
            self._types[table] = {row["name"]: row["type"] for row in found}
        return self._types[table]

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """The rows of one SELECT, within `READ_LIMITS`; times come with their zone.

        Args:
            sql: with placeholders like `{application:String}`, and without a SETTINGS clause.
            parameters: their values.

        Raises:
            StoreUnavailable: try again.
            StoreRejected: the statement is wrong or exceeds a limit.
        """
        limits, values = dict(READ_LIMITS), dict(parameters or {})

        def work(client: Client) -> list[dict[str, Any]]:
            return list(client.query(sql, parameters=values, settings=limits).named_results())

        return self._call(work, reading=True)

    def close(self) -> None:
        """Close every thread's client; a call after it opens a new one."""
        for client in list(self._clients):
            client.close()
        self._clients.clear()
        self._local = threading.local()
