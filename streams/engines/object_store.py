"""The part of S3 that the embedded broker needs to be durable, on loopback, over one directory.

Runs as a process of its own: `python -m streams.engines.object_store --directory D --port P`, with the one access key
that it answers to in AWS_ACCESS_KEY_ID. Stored means durable (see `objects`). A full disk answers 507, an unwritable
one 503, and the broker then refuses the message, so that its producer tries again. After a batch that could not be
stored the service ends, because only a start of both can take back the offsets that the batch was given (`repair`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import hmac
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streams.engines.objects import Entry, KeyRefused, Listing, NoSuchObject, Objects, VersionConflict
from streams.engines.repair import settle
from streams.engines.retention import sweep

BUCKET = "tansu"
PAGE_KEYS = 1000
SWEEP_SECONDS = 60.0


def _fault(status: int, code: str) -> Response:
    error = Element("Error")
    SubElement(error, "Code").text = code
    return Response(tostring(error), status, media_type="application/xml")


def _headers(entry: Entry) -> dict[str, str]:
    return {
        "ETag": f'"{entry.etag}"',
        "Last-Modified": formatdate(entry.modified, usegmt=True),
        "Accept-Ranges": "bytes",
    }


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte but one of `bytes=a-b`, `bytes=a-` or `bytes=-n`; None if nothing of it exists."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    return (start, stop) if start < stop else None


def _listing(page: Listing, prefix: str, delimiter: str) -> bytes:
    result = Element("ListBucketResult", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
    SubElement(result, "Name").text = BUCKET
    SubElement(result, "Prefix").text = prefix
    if delimiter:
        SubElement(result, "Delimiter").text = delimiter
    SubElement(result, "KeyCount").text = str(len(page.entries) + len(page.prefixes))
    SubElement(result, "IsTruncated").text = "true" if page.after else "false"
    if page.after:
        SubElement(result, "NextContinuationToken").text = page.after
    for entry in page.entries:
        contents = SubElement(result, "Contents")
        SubElement(contents, "Key").text = entry.key
        SubElement(contents, "LastModified").text = datetime.fromtimestamp(entry.modified, UTC).isoformat()
        SubElement(contents, "ETag").text = f'"{entry.etag}"'
        SubElement(contents, "Size").text = str(entry.size)
    for folded in page.prefixes:
        SubElement(SubElement(result, "CommonPrefixes"), "Prefix").text = folded
    return tostring(result)


class ObjectStore:
    """The endpoints, one method of S3 each, over `Objects`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def get(self, request: Request) -> Response:
        """GET and HEAD, whole or with one Range."""
        key, wanted = request.path_params["key"], request.headers.get("range")
        entry = self._objects.head(key)
        start, stop = 0, entry.size
        if wanted is not None:
            span = _range(wanted, entry.size)
            if span is None:
                return _fault(416, "InvalidRange")
            start, stop = span
        if request.method == "HEAD":
            return Response(headers=_headers(entry) | {"Content-Length": str(entry.size)})
        body = self._objects.read(key, start, stop)
        if wanted is None:
            return Response(body, headers=_headers(entry))
        return Response(body, 206, _headers(entry) | {"Content-Range": f"bytes {start}-{stop - 1}/{entry.size}"})

    async def put(self, request: Request) -> Response:
        """PUT, conditional with If-Match and If-None-Match."""
        expected = request.headers.get("if-match")
        only_new = request.headers.get("if-none-match") == "*"
        key, body = request.path_params["key"], await request.body()
        try:
            entry = self._objects.put(key, body, expected.strip('"') if expected else None, only_new)
        except OSError:
            if key.endswith(".batch"):
                signal.raise_signal(signal.SIGTERM)
            raise
        return Response(headers=_headers(entry))

    async def delete(self, request: Request) -> Response:
        """DELETE of one object."""
        self._objects.delete(request.path_params["key"])
        return Response(status_code=204)

    async def list(self, request: Request) -> Response:
        """LIST, version 2."""
        asked = request.query_params
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token") or asked.get("start-after", "")
        limit = min(PAGE_KEYS, int(asked.get("max-keys", PAGE_KEYS)))
        page = self._objects.list(prefix, delimiter, after, limit)
        return Response(_listing(page, prefix, delimiter), media_type="application/xml")


class OneKey:
    """Lets only requests through that carry the access key of this start; other users of the machine have none."""

    def __init__(self, app: ASGIApp, access_key: str) -> None:
        self._app = app
        self._credential = f"Credential={access_key}/".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or answer 403."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")[2]
            if not hmac.compare_digest(given[: len(self._credential)], self._credential):
                return await _fault(403, "AccessDenied")(scope, receive, send)
        await self._app(scope, receive, send)


async def _refusal(request: Request, error: Exception) -> Response:
    match error:
        case NoSuchObject():
            return _fault(404, "NoSuchKey")
        case VersionConflict():
            return _fault(412, "PreconditionFailed")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return _fault(507, "InsufficientStorage")
        case OSError():
            return _fault(503, "ServiceUnavailable")
    return _fault(400, "InvalidArgument")


def application(directory: Path, access_key: str) -> ASGIApp:
    """The service over `directory`, for the holder of `access_key`.

    Raises:
        OSError: the directory cannot be made or written.
    """
    objects = Objects(directory)
    settle(objects)
    store, key = ObjectStore(objects), f"/{BUCKET}/{{key:path}}"

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep_regularly(objects))
        yield
        sweeping.cancel()

    routes = [
        Route(f"/{BUCKET}", store.list, methods=["GET"]),
        Route(key, store.get, methods=["GET", "HEAD"]),
        Route(key, store.put, methods=["PUT"]),
        Route(key, store.delete, methods=["DELETE"]),
    ]
    refusals = (NoSuchObject, VersionConflict, KeyRefused, ValueError, OSError)
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys(refusals, _refusal), lifespan=lifespan)
    return OneKey(app, access_key)


async def _sweep_regularly(objects: Objects) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        with contextlib.suppress(OSError):  # an unwritable directory is reported by the next put
            sweep(objects, time.time())


def main() -> None:
    """Serve until the process is ended; a directory that cannot be used ends it with one line and exit 2."""
    parser = argparse.ArgumentParser(prog="object_store", description=main.__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    try:
        app = application(arguments.directory, os.environ["AWS_ACCESS_KEY_ID"])
    except OSError as error:
        sys.exit(f"{arguments.directory} cannot be used: {error.strerror}")
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
