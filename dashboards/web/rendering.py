"""Templates to answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dashboards.web import words
from dashboards.web.incident import effect_words, headline
from dashboards.web.reports import MOVED, RANGES

segment = partial(quote, safe="")
"""A name as one segment of an address."""


def _environment() -> Environment:
    """Templates that escape everything and fail on what they do not know."""
    templates = Environment(
        loader=PackageLoader("dashboards.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "capital": words.capital,
        "count": words.count,
        "effect": effect_words,
        "figure": words.figure,
        "headline": headline,
        "lane": words.lane_words,
        "number": words.number,
        "percent": words.percent,
        "place": words.segment_words,
        "query": lambda pairs: urlencode(pairs, doseq=True),
        "segment": segment,
        "stream": words.stream_words,
        "unit": words.stream_unit,
    }
    templates.globals |= {"states": words.STATES, "ranges": tuple(RANGES), "moved_at": MOVED}
    return templates


class Renderer:
    """Renders a template with what every page needs."""

    def __init__(self, form_token: Callable[[Request], str], now: Callable[[], datetime]) -> None:
        self._templates = _environment()
        self._form_token, self._now = form_token, now

    def page(self, request: Request, template: str, status_code: int = 200, **context: object) -> Response:
        """A page; its address is also where it refreshes itself from."""
        every = {
            "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "csrf": self._form_token(request),
            "sent": request.query_params.get("sent", ""),
            "now": self._now(),
        }
        return HTMLResponse(self._templates.get_template(template).render(every | context), status_code)


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A table to download; no text in it passes for a spreadsheet's formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return Response(
        text.getvalue(), media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
