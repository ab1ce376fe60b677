"""The routes of the pages.

/                                overview         ?range=24h&q=part of a name
/applications/{name}             one application  ?range=24h
/fairness/{name}, /quality/{name}
/incidents/{id}                  one incident; POST …/acknowledge, …/resolve, …/accept
/incidents/{id}/report           the report of its scores
/references/promote              POST
/series/evidence.{json,csv,svg}, /overview.csv, /sql
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dashboards.web.headers import REPORT_POLICY, Headers
from dashboards.web.incident import read_incident
from dashboards.web.overview import LEARNING, Overview, is_watched, learned, read_overview
from dashboards.web.people import check_known, people_routes
from dashboards.web.rendering import Renderer, csv_file, segment
from dashboards.web.reports import RANGES, REMEMBERED, CommandNotSent, Reports, Row, Span, span
from dashboards.web.series import POINTS, read_series
from tocsin.contracts import now as clock
from tocsin.messages import Acknowledge, Command, PromoteReference, ProposeReference, Resolve

STATIC = Path(__file__).parent / "static"
NOTE_CHARACTERS = 500


@dataclass(frozen=True)
class Pages:
    """The handlers, over what the pages read from and send to; see `create_pages`."""

    reports: Reports
    send_command: Callable[[Command], Awaitable[None]]
    read_form: Callable[[Request], Awaitable[dict[str, str]]]
    report_directory: Path
    pages_per_30_days: float
    public_url: str
    waiting: Callable[[], Mapping[tuple[str, int], int] | None]
    now: Callable[[], datetime]
    renderer: Renderer

    async def overview(self, request: Request) -> Response:
        """Is anything wrong, anywhere?"""
        context: dict[str, Any] = {
            "seen": await run_in_threadpool(self._overview, request),
            "range": _range(request),
            "q": request.query_params.get("q", ""),
            "budget": self.pages_per_30_days,
            "remembered": REMEMBERED.days,
            "base_url": self.public_url or f"{request.url.scheme}://{request.url.netloc}",
        }
        return self.renderer.page(request, "overview.html", **context)

    async def overview_csv(self, request: Request) -> Response:
        """The table of the overview."""
        columns = ("application", "state", "interactions", "errors", "stream", "evidence", "open_incidents")
        rows = []
        for one in (await run_in_threadpool(self._overview, request)).shown:
            most = (one.moved[0].name, one.moved[0].evidence) if one.moved else ("", "")
            rows.append((one.name, one.state, one.interactions, one.errors, *most, len(one.incidents)))
        return csv_file("overview.csv", columns, rows)

    def _overview(self, request: Request) -> Overview:
        matching = request.query_params.get("q", "")
        return read_overview(self.reports, self.now(), _range(request), matching, self.waiting())

    async def application(self, request: Request) -> Response:
        """What moved, when, together with what?"""
        name = request.path_params["name"]
        known = await run_in_threadpool(self.reports.read, "evidence_now", since=self.now() - REMEMBERED)
        mine = [row for row in known if row["application"] == name]
        found = await run_in_threadpool(self.reports.read, "incidents_of", application=name)
        if not mine and not found:
            await run_in_threadpool(check_known, self.reports, name, self.now())
        references = await run_in_threadpool(self.reports.read, "references")
        context: dict[str, Any] = {
            "name": name,
            "streams": [row for row in mine if row["stream"] != LEARNING],
            "learned": learned(mine),
            "watched": is_watched(row for row in references if row["application"] == name),
            "found": found,
            "range": _range(request),
        }
        return self.renderer.page(request, "application.html", **context)

    async def incident(self, request: Request) -> Response:
        """What changed, since when, how big, for whom, why, what to do?"""
        incident = await run_in_threadpool(read_incident, self.reports, request.path_params["incident_id"], self.now())
        if incident is None:
            raise HTTPException(404, "There is no incident of this id.")
        report = self._report_file(incident.row) is not None
        return self.renderer.page(request, "incident.html", incident=incident, row=incident.row, report=report)

    async def report(self, request: Request) -> Response:
        """The report of an incident's scores, in an origin of its own."""
        file = self._report_file(await self._incident_row(request))
        if file is None:
            raise HTTPException(404, "This incident has no report yet; making one takes about a minute.")
        return FileResponse(file, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    def _report_file(self, incident: Row) -> Path | None:
        """The report's file, if it lies in the directory of reports."""
        name = Path(incident["report"]).name
        file = self.report_directory / name
        return file if name and file.is_file() else None

    async def _incident_row(self, request: Request) -> Row:
        incident_id = request.path_params["incident_id"]
        rows = await run_in_threadpool(self.reports.read, "incident", incident_id=incident_id)
        if not rows:
            raise HTTPException(404, "There is no incident of this id.")
        return rows[0]

    async def acknowledge(self, request: Request) -> Response:
        """A person has seen the incident."""
        await self.read_form(request)
        incident_id = (await self._incident_row(request))["incident_id"]
        command = Acknowledge(incident_id=incident_id, actor=request.state.user, given_at=self.now())
        return await self._sent(command, f"/incidents/{segment(incident_id)}", "acknowledge")

    async def resolve(self, request: Request) -> Response:
        """A person closes the incident."""
        form = await self.read_form(request)
        incident_id = (await self._incident_row(request))["incident_id"]
        note = form.get("note", "")[:NOTE_CHARACTERS]
        command = Resolve(incident_id=incident_id, actor=request.state.user, given_at=self.now(), note=note)
        return await self._sent(command, f"/incidents/{segment(incident_id)}", "resolve")

    async def propose(self, request: Request) -> Response:
        """A person accepts what has changed: the traffic that follows makes a proposed reference."""
        await self.read_form(request)
        incident = await self._incident_row(request)
        command = ProposeReference(application=incident["application"], actor=request.state.user, given_at=self.now())
        return await self._sent(command, f"/incidents/{segment(incident['incident_id'])}", "propose")

    async def promote(self, request: Request) -> Response:
        """A person makes a proposed reference the current one."""
        wanted = (await self.read_form(request)).get("reference_id", "")
        rows = await run_in_threadpool(self.reports.read, "references")
        found = [row for row in rows if row["reference_id"] == wanted and row["status"] == "proposed"]
        if not found:
            raise HTTPException(404, "This reference is not proposed, or no longer.")
        command = PromoteReference(
            application=found[0]["application"], reference_id=wanted, actor=request.state.user, given_at=self.now()
        )
        return await self._sent(command, "/", "promote")

    async def _sent(
        self, command: Command, address: str, action: Literal["acknowledge", "resolve", "propose", "promote"]
    ) -> Response:
        try:
            await self.send_command(command)
        except CommandNotSent:
            raise HTTPException(503, "The broker did not answer, so nothing has changed. Try again.") from None
        return RedirectResponse(f"{address}?sent={action}", 303)

    async def series(self, request: Request) -> Response:
        """Evidence over time, for charts, spreadsheets and browsers without scripts."""
        query, form = request.query_params, request.path_params["form"]
        if form not in ("json", "csv", "svg"):
            raise HTTPException(404, "Evidence comes as json, csv or svg.")
        application, streams = query.get("application", ""), query.getlist("stream")
        part = query.get("segment", "")
        series = await run_in_threadpool(read_series, self.reports, application, streams, self._span(request), part)
        if form == "json":
            return JSONResponse(series.json())
        if form == "csv":
            return csv_file("evidence.csv", ("stream", "at", "evidence"), series.rows())
        return Response(series.svg(), media_type="image/svg+xml")

    def _span(self, request: Request) -> Span:
        """`since` and `until`, or else the range that the address names."""
        query = request.query_params
        if "since" not in query or "until" not in query:
            return span(_range(request), self.now(), POINTS)
        try:
            since, until = datetime.fromisoformat(query["since"]), datetime.fromisoformat(query["until"])
        except ValueError:
            raise HTTPException(400, "since and until are ISO 8601 times.") from None
        if since.utcoffset() is None or until.utcoffset() is None or since >= until:
            raise HTTPException(400, "since and until need a zone, and since comes first.")
        return Span(since, until, POINTS)

    async def sql(self, request: Request) -> Response:
        """The statements behind the pages."""
        return self.renderer.page(request, "sql.html", statements=self.reports.statements)

    async def problem(self, request: Request, error: Exception) -> Response:
        """What went wrong, in a page."""
        assert isinstance(error, HTTPException)
        context: dict[str, Any] = {"status": error.status_code, "detail": error.detail}
        return self.renderer.page(request, "problem.html", error.status_code, **context)


def _range(request: Request) -> str:
    wanted = request.query_params.get("range", "")
    return wanted if wanted in RANGES else "24h"


def create_pages(
    reports: Reports,
    *,
    send_command: Callable[[Command], Awaitable[None]],
    form_token: Callable[[Request], str],
    read_form: Callable[[Request], Awaitable[dict[str, str]]],
    report_directory: Path,
    pages_per_30_days: float,
    public_url: str = "",
    waiting: Callable[[], Mapping[tuple[str, int], int] | None] = lambda: None,
    groupings: Sequence[str] = (),
    judge_model: str = "",
    now: Callable[[], datetime] = clock,
) -> Starlette:
    """The pages as an application, to be mounted at `/` behind what checks Host, login and Origin.

    That check leaves the name of who asks in `request.state.user`.

    Args:
        reports: named queries; called in worker threads.
        send_command: returns once the broker has the command; raises `CommandNotSent` if it does not take it.
        form_token: the value of a form's hidden field `csrf` for whoever asks.
        read_form: the fields of a posted form; raises HTTPException 403 or 413 for one that is not genuine.
        report_directory: where the HTML reports of incidents lie.
        pages_per_30_days: the budget of false pages, shown beside the pages sent.
        public_url: address that services publish to, shown while there is no traffic; by default the one asked.
        waiting: messages that are not dealt with yet, by topic and partition, None where nobody knows; called in a
            worker thread.
        groupings: fields whose values are compared for fairness.
        judge_model: who judges answers; empty where no judge is configured.
        now: the clock.
    """
    renderer = Renderer(form_token, now)
    pages = Pages(
        reports, send_command, read_form, report_directory, pages_per_30_days, public_url, waiting, now, renderer
    )
    routes = [
        Route("/", pages.overview),
        Route("/overview.csv", pages.overview_csv),
        Route("/applications/{name:path}", pages.application),
        Route("/incidents/{incident_id}", pages.incident),
        Route("/incidents/{incident_id}/report", pages.report),
        Route("/incidents/{incident_id}/acknowledge", pages.acknowledge, methods=["POST"]),
        Route("/incidents/{incident_id}/resolve", pages.resolve, methods=["POST"]),
        Route("/incidents/{incident_id}/accept", pages.propose, methods=["POST"]),
        Route("/references/promote", pages.promote, methods=["POST"]),
        Route("/series/evidence.{form}", pages.series),
        *people_routes(reports, renderer, groupings, judge_model, now),
        Route("/sql", pages.sql),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Headers)], exception_handlers={HTTPException: pages.problem})
