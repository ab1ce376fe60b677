"""Two pages of an application: are groups of people treated alike, and how good are the answers?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.web.rendering import Renderer
from dashboards.web.reports import REMEMBERED, Reports, Row


def check_known(reports: Reports, application: str, now: datetime) -> None:
    """HTTPException 404 for an application that nothing is known of; it blocks."""
    since = now - REMEMBERED
    named = (
        row["application"]
        for name, window in (("evidence_now", {}), ("traffic", {"step": int(REMEMBERED.total_seconds())}))
        for row in reports.read(name, since=since, **window)
    )
    if application not in named and not reports.read("incidents_of", application=application):
        raise HTTPException(404, f"No application of this name has sent anything in the last {REMEMBERED.days} days.")


def people_routes(
    reports: Reports, renderer: Renderer, groupings: Sequence[str], judge_model: str, now: Callable[[], datetime]
) -> list[Route]:
    """The routes.

    Args:
        reports: the queries.
        renderer: of the templates.
        groupings: fields whose values are compared.
        judge_model: "" where no judge is configured.
        now: the clock.
    """

    async def read(name: str, application: str) -> list[dict[str, Any]]:
        return await run_in_threadpool(reports.read, name, application=application)

    async def fairness(request: Request) -> Response:
        name = request.path_params["name"]
        compared, swaps = await read("fairness", name), await read("swaps", name)
        if not compared and not swaps:
            await run_in_threadpool(check_known, reports, name, now())
        context: dict[str, Any] = {"name": name, "compared": compared, "swaps": swaps, "groupings": groupings}
        return renderer.page(request, "fairness.html", differ=[row for row in compared if differs(row)], **context)

    async def quality(request: Request) -> Response:
        name = request.path_params["name"]
        estimates, verdicts = await read("quality", name), await read("verdicts", name)
        if not estimates and not verdicts:
            await run_in_threadpool(check_known, reports, name, now())
        context: dict[str, Any] = {
            "name": name,
            "estimates": estimates,
            "verdicts": verdicts,
            "agreement": await read("agreement", name),
            "judge_model": judge_model,
        }
        return renderer.page(request, "quality.html", **context)

    return [Route("/fairness/{name:path}", fairness), Route("/quality/{name:path}", quality)]


def differs(row: Row) -> bool:
    """Whether the interval of a comparison leaves out no difference."""
    return bool(row["low"] > 0 or row["high"] < 0)
