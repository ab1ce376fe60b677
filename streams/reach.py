"""How the command line asks a system: over HTTP while it runs, by opening its engines otherwise."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from streams import deadletters
from streams.core.decoding import bounds_of
from streams.deadletters import Order, Replayed, Selection
from streams.ownership import EngineError, was_owned, where_it_runs
from streams.plain import plain
from streams.settings import Settings

if TYPE_CHECKING:  # most commands ask a system that runs, and need no engines: those are imported where they are opened
    from streams.engines import Engines
    from streams.gateway.publisher import Publisher

TIMEOUT_SECONDS = 60
Row = dict[str, Any]


@contextmanager
def _opened(settings: Settings) -> Iterator[Engines]:
    """The engines of a system that does not run; what is embedded must have been used before.

    Raises:
        EngineError: there is nothing; a new directory would answer that all is well.
    """
    from streams.engines import open_engines

    embedded = not (settings.broker.bootstrap and settings.clickhouse.host)
    if embedded and not was_owned(settings.data_directory):
        raise EngineError(
            f"nothing was ever stored in {settings.data_directory.absolute()}; name the place with --data"
        )
    with open_engines(settings) as engines:
        yield engines


def audit_now(settings: Settings) -> dict[str, Any]:
    """The audit of the system with these settings."""
    url = where_it_runs(settings.data_directory)
    if url is not None:
        return dict(_ask("GET", f"{url}/v1/audit"))
    from streams.audit import as_json, audit

    with _opened(settings) as engines:
        return as_json(audit(engines.store, engines.bootstrap))


def run_sql(settings: Settings, query: str) -> list[dict[str, Any]]:
    """The rows of one SELECT on the system with these settings.

    Raises:
        SqlRefused: the statement is not allowed.
    """
    from streams.sql import checked

    checked(query)
    url = where_it_runs(settings.data_directory)
    if url is not None:
        return list(_ask("POST", f"{url}/v1/sql", content=query))
    from streams.control import sql_rows

    with _opened(settings) as engines:
        return sql_rows(engines.store, query)


def read_reports(settings: Settings, names: Sequence[str], application: str) -> dict[str, list[Row]]:
    """The named statements of `sinks.queries` about one application, on the system with these settings."""
    url = where_it_runs(settings.data_directory)
    if url is not None:
        asked = ({"name": name, "application": application} for name in names)
        return {each["name"]: list(_ask("POST", f"{url}/v1/reports", json=each)) for each in asked}
    from sinks.queries import Queries

    with _opened(settings) as engines:
        queries = Queries(engines.store)
        return {name: [plain(row) for row in queries.read(name, application=application)] for name in names}


class DeadLetters(Protocol):
    """The dead letters of a system; see `streams.deadletters`. All of it blocks."""

    def latest(self, selection: Selection) -> list[Row]:
        """The latest ones, without their bytes."""
        ...

    def page(self, selection: Selection) -> list[Row]:
        """A page of them, with their bytes."""
        ...

    def replay(self, order: Order) -> Replayed:
        """Publish a page of them again."""
        ...


@contextmanager
def dead_letters(settings: Settings) -> Iterator[DeadLetters]:
    """The dead letters of the system with these settings."""
    url = where_it_runs(settings.data_directory)
    if url is not None:
        yield _Remote(f"{url}/v1/dead-letters")
        return
    from streams.gateway.publisher import Publisher

    with _opened(settings) as engines, asyncio.Runner() as runner:
        publisher = Publisher(
            engines.bootstrap,
            timeout_seconds=TIMEOUT_SECONDS,
            max_message_bytes=settings.limits.message_bytes,
        )
        try:
            yield _Local(settings, engines, publisher, runner)
        finally:
            runner.run(publisher.close())


class _Remote:
    def __init__(self, url: str) -> None:
        self._url = url

    def latest(self, selection: Selection) -> list[Row]:
        return [_read(row) for row in _ask("POST", self._url, json=_as_json(selection))]

    def page(self, selection: Selection) -> list[Row]:
        rows = _ask("POST", f"{self._url}/raw", json=_as_json(selection))
        return [_read(row) | {"raw": base64.b64decode(row["raw"])} for row in rows]

    def replay(self, order: Order) -> Replayed:
        fixes = {letter_id: base64.b64encode(raw).decode() for letter_id, raw in order.fixes.items()}
        asked = _as_json(order.selection) | {"fixes": fixes, "again": order.again, "dry_run": order.dry_run}
        return Replayed(**_ask("POST", f"{self._url}/replay", json=asked))


class _Local:
    def __init__(self, settings: Settings, engines: Engines, publisher: Publisher, runner: asyncio.Runner) -> None:
        self._store, self._bounds = engines.store, bounds_of(settings.limits)
        self._publisher, self._runner = publisher, runner

    def latest(self, selection: Selection) -> list[Row]:
        return deadletters.latest(self._store, selection)

    def page(self, selection: Selection) -> list[Row]:
        return deadletters.page(self._store, selection)

    def replay(self, order: Order) -> Replayed:
        from streams.gateway.publisher import BrokerAway, MessageRejected

        try:
            return self._runner.run(self._replay(order))
        except (BrokerAway, MessageRejected) as error:
            raise EngineError(f"the broker has not taken it: {error}") from None

    async def _replay(self, order: Order) -> Replayed:
        await self._publisher.connected()
        return await deadletters.replay(self._store, self._publisher.send, self._bounds, order)


def _as_json(selection: Selection) -> dict[str, Any]:
    return plain(vars(selection)) | {"ids": list(selection.ids)}


def _read(row: Row) -> Row:
    return {name: datetime.fromisoformat(value) if name.endswith("_at") else value for name, value in row.items()}


def _ask(method: str, url: str, **body: Any) -> Any:
    key = os.environ.get("TOCSIN_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.request(method, url, headers=headers, timeout=TIMEOUT_SECONDS, **body)
    except httpx.HTTPError as error:
        raise EngineError(f"the system at {url} does not answer: {type(error).__name__}") from None
    if answer.status_code == httpx.codes.BAD_REQUEST:
        from streams.sql import SqlRefused

        raise SqlRefused(answer.json()["error"]["message"])
    if answer.is_error:
        said = _problem(answer)
        hint = "; set TOCSIN_API_KEY to a key that has the scope" if answer.status_code in (401, 403) else ""
        raise EngineError(f"{url} answers {answer.status_code}{said}{hint}")
    return answer.json()


def _problem(answer: httpx.Response) -> str:
    try:
        return f": {answer.json()['error']['message']}"
    except (ValueError, LookupError, TypeError):  # something else answers there
        return ""
