"""An HTTP front of chDB, for tests: `python tests/clickhouse_http.py DIRECTORY PORT`.

It speaks as much of ClickHouse's HTTP interface as clickhouse-connect asks of a server: the statement in `query` and
the body joined, values in `param_*`, settings in the other parameters, either as a form, compressed bodies, errors with
their code. An embedded engine belongs to one process, so several that are to share a database share this one. It knows
no users.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from email import message_from_bytes
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import uvicorn
from chdb._exceptions import ChdbError
from chdb.state.sqlitelike import Connection
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

# read by the server itself, and no settings of the engine
TRANSPORT = {
    *("query", "query_id", "database", "wait_end_of_query", "client_protocol_version", "enable_http_compression"),
    *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "session_id"),
    "cancel_http_readonly_queries_on_client_close",
}
DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": gzip.decompress,
    "lz4": lz4.frame.decompress,
}
INSERT = re.compile(rb"INSERT INTO (.+?) FORMAT (\w+)\n", re.DOTALL)
STATUS = {60: 404, 62: 400, 81: 404, 516: 403}


def run(path: str, parameters: Mapping[str, str], body: bytes) -> Response:
    """Run one request on a handle of its own, so that its database and its settings are nobody else's."""
    statement = b"\n".join(part for part in (parameters.get("query", "").encode(), body) if part)
    values = {name.removeprefix("param_"): text for name, text in parameters.items() if name.startswith("param_")}
    settings = {name: text for name, text in parameters.items() if name not in TRANSPORT and name[6:] not in values}
    handle = Connection(path)
    try:
        if "database" in parameters:
            handle.query(f"USE `{parameters['database'].replace('`', '')}`")
        if settings:
            handle.query("SET " + ", ".join(f"{name} = {_quoted(text)}" for name, text in settings.items()))
        if insert := INSERT.match(statement):
            return _insert(handle, insert, statement[insert.end() :])
        result = handle.query(statement.decode(), "TabSeparated", params=values)
        return Response(result.bytes() or b"", headers={"X-ClickHouse-Timezone": "UTC"})
    except ChdbError as error:
        return _failed(str(error))
    finally:
        handle.close()


def _insert(handle: Connection, insert: re.Match[bytes], data: bytes) -> Response:
    """Data go through a file: those that are not text would not survive in the embedded engine's statement."""
    target, format_ = insert[1].decode(), insert[2].decode()
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        result = handle.query(f"INSERT INTO {target} FROM INFILE {_quoted(file.name)} FORMAT {format_}", "TabSeparated")
    written = json.dumps({"written_rows": str(result.rows_read())})
    return Response(headers={"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Summary": written})


def _form(kind: str, body: bytes) -> dict[str, str]:
    """The fields of a form; clients send long values so, because an address has a limit."""
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    fields = {}
    for part in message.walk():
        name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            fields[name] = value.decode()
    return fields


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _failed(message: str) -> Response:
    found = re.search(r"Code: (\d+)", message)
    code = int(found[1]) if found else 1002  # UNKNOWN_EXCEPTION
    headers = {"X-ClickHouse-Exception-Code": str(code)}
    return PlainTextResponse(message + "\n", STATUS.get(code, 500), headers)


def create_front(path: str) -> Starlette:
    """The application over the engine's directory."""

    async def statement(request: Request) -> Response:
        decompress = DECOMPRESS.get(request.headers.get("content-encoding", "identity"))
        if decompress is None:
            return _failed("Code: 638. DB::Exception: unknown compression of the body")
        parameters, body = dict(request.query_params), decompress(await request.body())
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            parameters, body = parameters | _form(kind, body), b""
        return await run_in_threadpool(run, path, parameters, body)

    async def ping(_: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    return Starlette(routes=[Route("/ping", ping), Route("/", statement, methods=["GET", "POST"])])


def main() -> None:
    """Serve until SIGTERM."""
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    engine = Connection(str(directory))  # the engine lives as long as one handle is open
    uvicorn.run(create_front(str(directory)), port=port, access_log=False, timeout_graceful_shutdown=2)
    engine.close()


if __name__ == "__main__":
    main()
