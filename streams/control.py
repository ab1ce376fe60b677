"""What the command line asks of a running system over HTTP: the audit, SQL, dead letters."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sinks.clickhouse import Store, StoreError, StoreRejected
from sinks.queries import Queries
from streams.access import Denied, check_host, check_key
from streams.audit import as_json, audit
from streams.core.decoding import bounds_of
from streams.deadletters import EVER, PAGE, START, Order, Selection, Send, latest, page, replay
from streams.engines import Engines
from streams.gateway.publisher import BrokerAway, MessageRejected
from streams.plain import plain
from streams.settings import Scope, Settings
from streams.sql import TABLES, SqlRefused, checked
from streams.topics import TopicError

Answer = Callable[[Request], Awaitable[Response]]
RAW_TABLES = frozenset({"dead_letters"})
"""Tables with bytes as they came, which no redaction has seen: for keys with the scope `raw`."""


class Asked(BaseModel):
    """A question about dead letters, or the order to replay them, as JSON."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    topic: str = ""
    reason: str = ""
    since: datetime = EVER
    ids: list[str] = Field(default_factory=list, max_length=1_000)
    after: str = Field(START, pattern=r"^[\w.-]*/-?\d+/-?\d+$")
    limit: int = Field(PAGE, ge=1, le=1_000)
    fixes: dict[str, str] = Field(default_factory=dict, max_length=1_000, description="new bytes by id, base64")
    again: bool = False
    dry_run: bool = False

    @property
    def selection(self) -> Selection:
        """Which letters."""
        return Selection(self.topic, self.reason, self.since, self.ids, self.after, self.limit)

    @property
    def order(self) -> Order:
        """What is to be replayed. Raises `binascii.Error` for bytes that are not base64."""
        fixes = {letter_id: base64.b64decode(text, validate=True) for letter_id, text in self.fixes.items()}
        return Order(self.selection, fixes, self.again, self.dry_run)


class AskedReport(BaseModel):
    """One of the reports on an application, as JSON."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Literal["fairness", "swaps", "quality", "verdicts", "agreement", "to_rate"]
    application: str


def control_routes(settings: Settings, engines: Engines, send: Send) -> list[Route]:
    """The routes, each for keys with a scope of its own; `send` publishes and says where to."""
    store, bounds = engines.store, bounds_of(settings.limits)

    async def audit_now(_: Request) -> Response:
        return JSONResponse(as_json(await asyncio.to_thread(audit, store, engines.bootstrap)))

    async def run_sql(request: Request) -> Response:
        sql = (await request.body()).decode("utf-8", "replace")
        raw = not isinstance(_verdict(settings, request, "raw"), Denied)
        return JSONResponse(await asyncio.to_thread(sql_rows, store, sql, raw=raw))

    async def read_report(request: Request) -> Response:
        asked = AskedReport.model_validate_json(await request.body())
        rows = await asyncio.to_thread(Queries(store).read, asked.name, application=asked.application)
        return JSONResponse([plain(row) for row in rows])

    async def list_letters(request: Request) -> Response:
        asked = Asked.model_validate_json(await request.body())
        return JSONResponse([plain(row) for row in await asyncio.to_thread(latest, store, asked.selection)])

    async def letters_with_bytes(request: Request) -> Response:
        asked = Asked.model_validate_json(await request.body())
        return JSONResponse([plain(row) for row in await asyncio.to_thread(page, store, asked.selection)])

    async def replay_letters(request: Request) -> Response:
        asked = Asked.model_validate_json(await request.body())
        return JSONResponse(asdict(await replay(store, send, bounds, asked.order)))

    scopes: dict[tuple[str, str], tuple[Scope, Answer]] = {
        ("GET", "/v1/audit"): ("read", audit_now),
        ("POST", "/v1/sql"): ("read", run_sql),
        ("POST", "/v1/reports"): ("read", read_report),
        ("POST", "/v1/dead-letters"): ("read", list_letters),
        ("POST", "/v1/dead-letters/raw"): ("raw", letters_with_bytes),
        ("POST", "/v1/dead-letters/replay"): ("operate", replay_letters),
    }
    return [
        Route(path, _guarded(settings, scope, answer), methods=[method])
        for (method, path), (scope, answer) in scopes.items()
    ]


def _guarded(settings: Settings, scope: Scope, answer: Answer) -> Answer:
    async def guard(request: Request) -> Response:
        verdict = _verdict(settings, request, scope)
        if isinstance(verdict, Denied):
            return _problem(verdict.status, verdict.reason)
        try:
            return await answer(request)
        except ValidationError as error:
            places = {".".join(map(str, fault["loc"])) or "body" for fault in error.errors(include_input=False)}
            return _problem(400, f"not valid: {', '.join(sorted(places))}")
        except (SqlRefused, StoreRejected, binascii.Error) as error:
            return _problem(400, str(error))
        except (StoreError, TopicError, BrokerAway, MessageRejected) as error:
            return _problem(503, str(error))

    return guard


def _verdict(settings: Settings, request: Request, scope: Scope) -> object:
    keys = settings.gateway.keys
    if keys:
        return check_key(keys, request.headers.get("authorization", ""), scope)
    return check_host(request.headers.get("host", ""), settings)


def sql_rows(store: Store, sql: str, *, raw: bool = True) -> list[dict[str, Any]]:
    """The rows of one allowed SELECT, as plain JSON; without `raw`, not of `RAW_TABLES`."""
    statement = checked(sql, TABLES if raw else TABLES - RAW_TABLES)
    return [plain(row) for row in store.query(statement)]


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)
