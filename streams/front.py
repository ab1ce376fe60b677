"""The HTTP front as one application: gateway, pages, and what the command line asks of a running system."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import uvicorn
from prometheus_client import REGISTRY
from starlette import types as asgi
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route

from dashboards.web import create_pages
from dashboards.web.reports import CommandNotSent
from sinks.queries import Queries
from sinks.retraining.token import verify_callback
from streams.access import Csrf, PageAccess, checked_form
from streams.audit import LatestAudit
from streams.control import control_routes
from streams.engines import EngineError, Engines
from streams.gateway import create_gateway
from streams.gateway.publisher import BrokerAway, MessageRejected
from streams.gateway.refusal import Refusal, try_later
from streams.secret import installation_secret
from streams.settings import Settings
from streams.topics import ensure_topics
from tocsin.messages import COMMANDS, Command, subject_of
from tocsin.transports import Message, encoded

STOP_SECONDS = 2
PREPARE_SECONDS = 3.0
RETRY_SECONDS = 1
METHODS = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"]


def create_front(settings: Settings, engines: Engines, public_url: str) -> Starlette:
    """Everything that answers HTTP."""
    secret = installation_secret(settings)
    broker = settings.broker.model_copy(update={"bootstrap": engines.bootstrap})
    gateway = create_gateway(
        settings,
        engines.bootstrap,
        verify_run=lambda run_id, token: verify_callback(secret, run_id, token),
        registry=REGISTRY,
        prepare=lambda: ensure_topics(broker, PREPARE_SECONDS, settings.limits.message_bytes),
    )
    csrf, latest = Csrf(), LatestAudit(engines.store, engines.bootstrap)

    async def send(command: Command) -> None:
        try:
            await gateway.state.publisher.send([Message(COMMANDS, subject_of(command).encode(), encoded(command))])
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
        waiting=latest.waiting,
        groupings=settings.fairness.groupings,
        judge_model=settings.judge.model if settings.judge.url else "",
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.router.lifespan_context(gateway):
            auditing = asyncio.create_task(latest.repeat(), name="audit")
            yield
            auditing.cancel()

    answered = [*gateway.routes, *control_routes(settings, engines, gateway.state.publisher.send)]

    async def nowhere(request: Request) -> Response:
        """What nobody answers of what programs ask, in the form that they expect."""
        there = [
            route for route in answered if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL
        ]
        if there:
            said = f"{request.url.path} does not take {request.method}: see docs/http.md"
            methods = sorted({method for route in there for method in route.methods or ()})
            return Refusal(405, said, headers={"Allow": ", ".join(methods)}).response()
        return Refusal(404, "there is no such address: see docs/http.md").response()

    return Starlette(
        routes=[
            *answered,
            Route("/v1/{rest:path}", nowhere, methods=METHODS),
            Mount("/", Starlette(routes=[Mount("/", pages)], middleware=[Middleware(PageAccess, settings=settings)])),
        ],
        lifespan=lifespan,
    )


def _seconds() -> float:
    return datetime.now(UTC).timestamp()


class Patience:
    """Around the application: a request that outlasts the server is told to try again.

    uvicorn cancels it, and would log that as an exception of the application and answer 500.
    """

    def __init__(self, app: asgi.ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """One request; also the lifespan, which is let alone."""
        begun = False

        async def noting(message: asgi.Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            if not begun:  # else uvicorn closes the connection in the middle of the answer
                ending = try_later(503, "this process is ending; send the same again", RETRY_SECONDS)
                await ending.response()(scope, receive, send)


class Front:
    """The server around the application; an asynchronous context manager."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        config = uvicorn.Config(
            Patience(app),
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
