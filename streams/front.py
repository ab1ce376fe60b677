"""The HTTP front as one application: gateway, pages, and what the command line asks of a running system."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from dashboards.web import create_pages
from dashboards.web.reports import CommandNotSent
from sinks.clickhouse import Store, StoreError, StoreRejected
from sinks.queries import Queries
from sinks.retraining.token import verify_callback
from streams.access import Csrf, Denied, PageAccess, check_host, check_key, checked_form
from streams.audit import as_json, audit
from streams.engines import EngineError, Engines
from streams.gateway import create_gateway
from streams.gateway.publisher import BrokerAway, MessageRejected
from streams.secret import installation_secret
from streams.settings import Settings
from streams.sql import SqlRefused, checked
from streams.topics import TopicError
from tocsin.messages import COMMANDS, Command, PromoteReference
from tocsin.transports import Message, encoded

STOP_SECONDS = 2
LAG_SECONDS = 10


def create_front(settings: Settings, engines: Engines, public_url: str) -> Starlette:
    """Everything that answers HTTP."""
    secret = installation_secret(settings)
    gateway = create_gateway(
        settings,
        engines.bootstrap,
        verify_run=lambda run_id, token: verify_callback(secret, run_id, token),
        registry=REGISTRY,
    )
    csrf = Csrf()

    async def send(command: Command) -> None:
        key = command.application if isinstance(command, PromoteReference) else getattr(command, "incident_id", "")
        try:
            await gateway.state.publisher.send([Message(COMMANDS, key.encode(), encoded(command))])
        except (BrokerAway, MessageRejected) as error:
            raise CommandNotSent from error

    pages = create_pages(
        Queries(engines.store),
        send_command=send,
        form_token=lambda request: csrf.token(request.state.user, _seconds()),
        read_form=lambda request: checked_form(request, csrf, _seconds()),
        report_directory=settings.data_directory / "reports",
        pages_per_30_days=settings.budget.pages_per_30_days,
        public_url=settings.public_url or public_url,
        lag=Waiting(engines),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.router.lifespan_context(gateway):
            yield

    return Starlette(
        routes=[
            *gateway.routes,
            *control_routes(settings, engines),
            Mount("/", Starlette(routes=[Mount("/", pages)], middleware=[Middleware(PageAccess, settings=settings)])),
        ],
        lifespan=lifespan,
    )


class Waiting:
    """Messages that are not dealt with yet, asked of the broker at most every ten seconds; None while it is away."""

    def __init__(self, engines: Engines) -> None:
        self._engines, self._at = engines, -math.inf
        self._known: int | None = None

    def __call__(self) -> int | None:
        """The figure; blocks."""
        if time.monotonic() - self._at > LAG_SECONDS:
            try:
                self._known = sum(each.waiting for each in audit(self._engines.store, self._engines.bootstrap))
            except (TopicError, StoreError):
                self._known = None
            self._at = time.monotonic()
        return self._known


def control_routes(settings: Settings, engines: Engines) -> list[Route]:
    """`/v1/audit` and `/v1/sql`, for keys with the scope `read`."""

    def guarded(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guard(request: Request) -> Response:
            keys = settings.gateway.keys
            verdict = (
                check_key(keys, request.headers.get("authorization", ""), "read")
                if keys
                else check_host(request.headers.get("host", ""), settings)
            )
            if isinstance(verdict, Denied):
                return _problem(verdict.status, verdict.reason)
            try:
                return await answer(request)
            except (SqlRefused, StoreRejected) as error:
                return _problem(400, str(error))
            except (StoreError, TopicError) as error:
                return _problem(503, str(error))

        return guard

    async def audit_now(_: Request) -> Response:
        return JSONResponse(as_json(await asyncio.to_thread(audit, engines.store, engines.bootstrap)))

    async def run_sql(request: Request) -> Response:
        sql = (await request.body()).decode("utf-8", "replace")
        return JSONResponse(await asyncio.to_thread(sql_rows, engines.store, sql))

    return [
        Route("/v1/audit", guarded(audit_now)),
        Route("/v1/sql", guarded(run_sql), methods=["POST"]),
    ]


def sql_rows(store: Store, sql: str) -> list[dict[str, Any]]:
    """The rows of one allowed SELECT, as plain JSON."""
    return [{name: _plain(value) for name, value in row.items()} for row in store.query(checked(sql))]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    if isinstance(value, str | int | float | bool | list | dict | None):
        return value
    return str(value)


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


def _seconds() -> float:
    return datetime.now(UTC).timestamp()


class Front:
    """The server around the application; an asynchronous context manager."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server, self._listening = uvicorn.Server(config), listening

    async def __aenter__(self) -> Front:
        self._serving = asyncio.create_task(self._server._serve([self._listening]), name="front")
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise EngineError("the gateway did not start")
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        await self._serving
