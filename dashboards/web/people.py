"""Two pages of an application: are groups of people treated alike, and how good are the answers?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.web.rendering import Renderer
from dashboards.web.reports import Reports, Row


def people_routes(reports: Reports, renderer: Renderer, groupings: Sequence[str], judge_model: str) -> list[Route]:
    """The routes.

    Args:
        reports: the queries.
        renderer: of the templates.
        groupings: fields whose values are compared.
        judge_model: "" where no judge is configured.
    """

    async def read(name: str, application: str) -> list[dict[str, Any]]:
        return await run_in_threadpool(reports.read, name, application=application)

    async def fairness(request: Request) -> Response:
        name = request.path_params["name"]
        compared, swaps = await read("fairness", name), await read("swaps", name)
        context: dict[str, Any] = {"name": name, "compared": compared, "swaps": swaps, "groupings": groupings}
        return renderer.page(request, "fairness.html", differ=[row for row in compared if differs(row)], **context)

    async def quality(request: Request) -> Response:
        name = request.path_params["name"]
        context: dict[str, Any] = {
            "name": name,
            "estimates": await read("quality", name),
            "verdicts": await read("verdicts", name),
            "agreement": await read("agreement", name),
            "judge_model": judge_model,
        }
        return renderer.page(request, "quality.html", **context)

    return [Route("/fairness/{name:path}", fairness), Route("/quality/{name:path}", quality)]


def differs(row: Row) -> bool:
    """Whether the interval of a comparison leaves out no difference."""
    return bool(row["low"] > 0 or row["high"] < 0)
