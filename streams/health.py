"""How a worker process is, over HTTP: whether it lives, whether its stages run, and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.access import Denied, check_key
from streams.settings import Settings


def create_health(settings: Settings, stages: Sequence[asyncio.Task[None]]) -> Starlette:
    """The application: `/healthz`, `/readyz`, and `/metrics` for keys with the scope `read` where there are keys.

    Args:
        settings: the effective settings.
        stages: tasks that end only if something failed.
    """

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        ended = [stage.get_name() for stage in stages if stage.done()]
        if ended:
            return JSONResponse({"status": "ended", "stages": ended}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(request: Request) -> Response:
        verdict = check_key(settings.gateway.keys, request.headers.get("authorization", ""), "read")
        if isinstance(verdict, Denied):
            return JSONResponse({"error": {"message": verdict.reason}}, verdict.status)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    routes = {"/healthz": alive, "/readyz": ready, "/metrics": metrics}
    return Starlette(routes=[Route(path, answer) for path, answer in routes.items()])
