"""How the command line asks a system: over HTTP while it runs, by opening its engines otherwise."""

from __future__ import annotations

import os
from typing import Any

import httpx

from streams.audit import as_json, audit
from streams.engines import EngineError, open_engines
from streams.front import sql_rows
from streams.service import where_it_runs
from streams.settings import Settings
from streams.sql import SqlRefused, checked

TIMEOUT_SECONDS = 60


def audit_now(settings: Settings) -> dict[str, Any]:
    """The audit of the system with these settings."""
    url = where_it_runs(settings.data_directory)
    if url is not None:
        return dict(_ask("GET", f"{url}/v1/audit"))
    with open_engines(settings) as engines:
        return as_json(audit(engines.store, engines.bootstrap))


def run_sql(settings: Settings, query: str) -> list[dict[str, Any]]:
    """The rows of one SELECT on the system with these settings.

    Raises:
        SqlRefused: the statement is not allowed.
    """
    checked(query)
    url = where_it_runs(settings.data_directory)
    if url is not None:
        return list(_ask("POST", f"{url}/v1/sql", content=query))
    with open_engines(settings) as engines:
        return sql_rows(engines.store, query)


def _ask(method: str, url: str, content: str | None = None) -> Any:
    key = os.environ.get("TOCSIN_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.request(method, url, content=content, headers=headers, timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        raise EngineError(f"the system at {url} does not answer: {type(error).__name__}") from None
    if answer.status_code == httpx.codes.BAD_REQUEST:
        raise SqlRefused(answer.json()["error"]["message"])
    if answer.is_error:
        hint = "; set TOCSIN_API_KEY to a key with the scope read" if answer.status_code in (401, 403) else ""
        raise EngineError(f"{url} answers {answer.status_code}{hint}")
    return answer.json()
