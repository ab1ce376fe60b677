"""Kills a stage at one of its writes, or within one that is not done at a stroke, over real engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from sinks.clickhouse import Store
from streams.publisher import Publisher


class Killed(Exception):
    """Stands for a kill at this point."""


class Cut:
    """Kills at the first write to a table or topic: before it, or when a part of it is done.

    An insert can be left in part where its rows lie in several months, and so in several parts of the table.
    """

    def __init__(self, name: str = "", share: float = 0) -> None:
        self._name, self._share = name, share

    def is_due(self, name: str) -> bool:
        """Whether this write is the one."""
        return name == self._name

    def done(self, count: int) -> int:
        """How many of so many are written yet."""
        return int(count * self._share)


class CutStore:
    """A store whose inserts pass through a cut."""

    def __init__(self, store: Store, cut: Cut) -> None:
        self._store, self._cut, self.query = store, cut, store.query

    def insert(self, table: str, rows: Sequence[Mapping[str, object]], token: str = "") -> None:
        if rows and self._cut.is_due(table):
            self._store.insert(table, rows[: self._cut.done(len(rows))])
            raise Killed
        self._store.insert(table, rows, token)


class CutPublisher(Publisher):
    """A publisher whose messages pass through a cut."""

    def __init__(self, bootstrap: str, cut: Cut) -> None:
        super().__init__(bootstrap)
        self._cut = cut

    async def publish(self, topic: str, messages: Sequence[tuple[str, BaseModel]]) -> None:
        if messages and self._cut.is_due(topic):
            await super().publish(topic, messages[: self._cut.done(len(messages))])
            raise Killed
        await super().publish(topic, messages)
