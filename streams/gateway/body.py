"""From the bytes of a request to JSON values, with a bound on everything that the sender could make large."""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request

from streams.gateway.refusal import Refusal

READ_SECONDS = 30.0
GZIP_WINDOW = 16 + zlib.MAX_WBITS


async def read_json(request: Request, max_bytes: int) -> Any:
    """Read, inflate and parse a request's body.

    Raises:
        Refusal: 400 for what is not one well-formed JSON value, and as `read_body`.
    """
    return parse(await read_body(request, max_bytes, ("application/json",)))


async def read_body(request: Request, max_bytes: int, types: Sequence[str]) -> bytes:
    """Read and inflate a request's body, of one of these types.

    Raises:
        Refusal: 408 for a body that does not arrive, 413 for one over `max_bytes` before or after decompression, 415
            for another type or encoding.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in types:
        # also keeps web pages of other origins out: browsers ask before they send such a type
        raise Refusal(415, f"Content-Type must be {' or '.join(types)}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise Refusal(415, "Content-Encoding must be gzip or absent")
    raw = await _read(request, max_bytes)
    return inflate(raw, max_bytes) if encoding == "gzip" else raw


async def _read(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {READ_SECONDS:.0f} s") from None
    return bytes(body)


def inflate(raw: bytes, max_bytes: int) -> bytes:
    """Decompress one gzip stream, never making more than `max_bytes` + 1 bytes of it.

    Raises:
        Refusal: 400 for what is not one whole gzip stream, 413 for one that grows larger.
    """
    stream = zlib.decompressobj(GZIP_WINDOW)
    try:
        plain = stream.decompress(raw, max_bytes + 1)
    except zlib.error:
        raise Refusal(400, "the body is not gzip") from None
    if len(plain) > max_bytes:
        raise _too_large(max_bytes)
    if not stream.eof or stream.unused_data:
        raise Refusal(400, "the body is not one whole gzip stream")
    return plain


def parse(raw: bytes) -> Any:
    """Parse JSON strictly: whole characters, finite numbers, no key twice.

    Raises:
        Refusal: 400.
    """
    try:
        orjson.loads(raw)  # fast, and refuses what json lets pass: lone surrogates, NaN, bytes that are not UTF-8
        return json.loads(raw, object_pairs_hook=_without_repeats, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise Refusal(400, "the body has a number that is too long") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refusal(400, "the body has an object with the same key twice")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise Refusal(400, "the body has a number that is too large")
    return number


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the body is larger than {max_bytes} bytes (gateway.max_body_bytes)")
