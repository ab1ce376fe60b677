"""How far a replay is, on disk: one SQLite database, each checkpoint one transaction of it.

It holds snapshots of the monitors as the live worker stores them, the units and references that they name, and the
pages so far; no text. What a kill interrupts is as it was at the last checkpoint.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson

from streams.core import reference as references
from streams.core import snapshot as snapshots
from streams.core.units import Sessions, to_unit
from streams.offline.replay import Replay, Standing
from streams.settings import ConfigurationError
from tocsin.messages import Scored

SECONDS, TIMES = 1.0, 20  # between two checkpoints: a second, and so many times what the last one took

TABLES = """
CREATE TABLE IF NOT EXISTS standing (one INTEGER PRIMARY KEY CHECK (one = 1), plain TEXT, ids BLOB);
CREATE TABLE IF NOT EXISTS findings (number INTEGER PRIMARY KEY, finding TEXT);
CREATE TABLE IF NOT EXISTS monitors (application TEXT PRIMARY KEY, snapshot BLOB);
CREATE TABLE IF NOT EXISTS fitted (reference_id TEXT PRIMARY KEY, reference BLOB);
CREATE TABLE IF NOT EXISTS units (application TEXT, interaction_id TEXT, scored BLOB,
                                  PRIMARY KEY (application, interaction_id)) WITHOUT ROWID;
"""


class Checkpoint:
    """A replay's place on disk; a context manager.

    Args:
        file: the database; none keeps nothing beyond this process.

    Raises:
        ConfigurationError: another process runs the same replay, or the file is damaged or cannot be written.
    """

    def __init__(self, file: Path | None) -> None:
        self._file, self._saved_at, self._took = file, time.monotonic(), 0.0
        try:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"backtest: {file}: {error.strerror}; name another place with --data") from None
        try:
            self._db = sqlite3.connect(file or "", timeout=0)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.executescript(f"BEGIN EXCLUSIVE; {TABLES} COMMIT;")
        except sqlite3.Error as error:
            busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            why = (
                "the same backtest is running already" if busy else f"{error.sqlite_errorname}; delete it or use --data"
            )
            raise ConfigurationError(f"backtest: {file}: {why}") from None

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def clear(self) -> None:
        """Forget an earlier run."""
        for table in ("standing", "findings", "monitors", "fitted", "units"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  names of our own
        self._db.commit()

    def remove(self) -> None:
        """The replay is done and leaves nothing."""
        self._db.close()
        if self._file is not None:
            self._file.unlink()
            with suppress(OSError):  # other replays are on their way
                self._file.parent.rmdir()

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved_at > max(SECONDS, TIMES * self._took)

    def restore(self, replay: Replay) -> bool:
        """Bring a new replay to where the stored one stood; False if there is none."""
        row = self._db.execute("SELECT plain, ids FROM standing").fetchone()
        if row is None:
            return False
        replay.standing = Standing(**orjson.loads(row[0]))
        replay.ids = Sessions(np.frombuffer(row[1], np.uint64).tolist())
        fitted = {
            name: references.load(data) for name, data in self._db.execute("SELECT reference_id, reference FROM fitted")
        }
        for application, data in self._db.execute("SELECT application, snapshot FROM monitors ORDER BY application"):
            rows = self._db.execute("SELECT scored FROM units WHERE application = ?", (application,))
            units = {
                unit.interaction_id: unit for unit in (to_unit(Scored.model_validate_json(row)) for (row,) in rows)
            }
            replay.monitors[application] = snapshots.restore(snapshots.read(data), replay.rules, units, fitted)
        return True

    def findings(self) -> Iterator[dict[str, Any]]:
        """What was found before."""
        for (text,) in self._db.execute("SELECT finding FROM findings ORDER BY number"):
            yield orjson.loads(text)

    def keep(self, messages: Sequence[Scored]) -> None:
        """Lay by what the next checkpoint may need; in the file and not in memory, but not committed."""
        self._db.executemany(
            "INSERT OR REPLACE INTO units VALUES (?, ?, ?)",
            ((each.application, each.interaction_id, each.model_dump_json()) for each in messages),
        )

    def save(self, replay: Replay, found: Sequence[dict[str, Any]] = ()) -> None:
        """Commit where the replay stands, with what it found since."""
        began = time.monotonic()
        for reference in replay.fitted:
            blob = references.dump(reference)
            self._db.execute("INSERT OR REPLACE INTO fitted VALUES (?, ?)", (reference.reference_id, blob))
        replay.fitted.clear()
        for application, monitor in replay.monitors.items():
            blob = snapshots.dump(monitor)
            self._db.execute("INSERT OR REPLACE INTO monitors VALUES (?, ?)", (application, blob))
            needed = orjson.dumps(sorted(snapshots.read(blob).unit_ids)).decode()
            self._db.execute(
                "DELETE FROM units WHERE application = ? AND interaction_id NOT IN (SELECT value FROM json_each(?))",
                (application, needed),
            )
        self._db.executemany("INSERT INTO findings (finding) VALUES (?)", [(orjson.dumps(each),) for each in found])
        standing = (orjson.dumps(asdict(replay.standing)), replay.ids.snapshot().tobytes())
        self._db.execute("INSERT OR REPLACE INTO standing VALUES (1, ?, ?)", standing)
        self._db.commit()
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began
