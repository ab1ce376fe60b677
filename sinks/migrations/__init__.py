"""Numbered SQL files, run in order and once: `NNNN_name.sql`.

A file may be run again after a start that was cut off, and by two workers at once: a `CREATE TABLE` is run with
`IF NOT EXISTS`; write every other statement so that repeating it is harmless (`ADD COLUMN IF NOT EXISTS`).
Statements end with a semicolon at the end of a line; comments have lines of their own. No database is named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources


@dataclass(frozen=True)
class Migration:
    """One file. `checksum` is of its text."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    def statements(self, cluster: str = "") -> list[str]:
        """The SQL statements in order, without comments; with a cluster, for all of its servers."""
        bare = re.sub(r"^\s*--.*$", "", self.text, flags=re.MULTILINE)
        again = re.sub(r"^CREATE TABLE (?!IF NOT EXISTS)", "CREATE TABLE IF NOT EXISTS ", bare, flags=re.MULTILINE)
        found = [statement.strip() for statement in re.split(r";\s*$", again, flags=re.MULTILINE)]
        return [on_cluster(statement, cluster) for statement in found if statement]


def on_cluster(statement: str, cluster: str) -> str:
    """A statement that makes or changes a table, for all servers of a cluster, which copy the table among each other.

    Where the copies are registered follows from the servers' own `default_replica_path` and macros.
    """
    if not cluster:
        return statement
    head = re.compile(r"^((?:CREATE|ALTER) (?:TABLE|DATABASE) (?:IF NOT EXISTS )?\w+)")
    there = head.sub(rf"\1 ON CLUSTER '{cluster}'", statement)
    copied = re.sub(r"\bENGINE = (?=\w*MergeTree)", "ENGINE = Replicated", there)
    return copied.replace("non_replicated_deduplication_window", "replicated_deduplication_window")


def migrations() -> list[Migration]:
    """Every migration that the program has, in order."""
    found = []
    for file in resources.files(__name__).iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)
