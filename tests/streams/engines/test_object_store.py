from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest

from streams.engines.broker import free_port
from streams.engines.object_store import application

Send = Callable[..., httpx.Response]
KEY = "0123456789abcdef"


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """Send one request to the service over `tmp_path`, with the right access key unless headers say otherwise."""
    app = application(tmp_path, KEY)

    def request(method: str, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, Signature=0"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://store") as client:
                return await client.request(method, path, content=body, headers=signed | named)

        return asyncio.run(exchange())

    return request


def serves(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_object_is_read_whole_in_part_and_described(send: Send) -> None:
    etag = send("PUT", "/tansu/a/b.batch", b"0123456789").headers["etag"]
    whole = send("GET", "/tansu/a/b.batch")
    assert (whole.status_code, whole.content, whole.headers["etag"]) == (200, b"0123456789", etag)
    for wanted, part in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=8-99", b"89")):
        answer = send("GET", "/tansu/a/b.batch", Range=wanted)
        assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"] == "bytes 8-9/10"
    described = send("HEAD", "/tansu/a/b.batch")
    assert (described.status_code, described.content, described.headers["content-length"]) == (200, b"", "10")
    assert send("GET", "/tansu/a/b.batch", Range="bytes=10-").status_code == 416
    assert send("GET", "/tansu/nothing").status_code == 404


def test_a_conditional_put_is_refused_when_its_condition_does_not_hold(send: Send) -> None:
    etag = send("PUT", "/tansu/a", b"1", If_None_Match="*").headers["etag"]
    assert send("PUT", "/tansu/a", b"2", If_None_Match="*").status_code == 412
    assert send("PUT", "/tansu/a", b"2", If_Match='"other"').status_code == 412
    assert send("PUT", "/tansu/a", b"2", If_Match=etag).status_code == 200
    assert send("GET", "/tansu/a").content == b"2"


def test_a_listing_names_keys_and_folds_deeper_ones(send: Send) -> None:
    for key in ("a/1", "a/2", "a/deep/3", "b"):
        send("PUT", f"/tansu/{key}", b"xy")
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    page = ElementTree.fromstring(send("GET", "/tansu?list-type=2&prefix=a/&delimiter=/&max-keys=2").content)
    assert [key.text for key in page.iter(f"{space}Key")] == ["a/1", "a/2"]
    assert [size.text for size in page.iter(f"{space}Size")] == ["2", "2"]
    token = page.findtext(f"{space}NextContinuationToken")
    rest = send("GET", f"/tansu?list-type=2&prefix=a/&delimiter=/&continuation-token={token}").content
    assert b"<Prefix>a/deep/</Prefix>" in rest
    assert b"<IsTruncated>false</IsTruncated>" in rest


def test_without_the_access_key_nothing_is_read_written_or_deleted(send: Send) -> None:
    send("PUT", "/tansu/a", b"1")
    for authorization in ("", "AWS4-HMAC-SHA256 Credential=guess/x", f"AWS4-HMAC-SHA256 Credential={KEY}0/x"):
        for method in ("GET", "PUT", "DELETE"):
            assert send(method, "/tansu/a", b"2", Authorization=authorization).status_code == 403
        assert send("GET", "/tansu?list-type=2", Authorization=authorization).status_code == 403
    assert send("GET", "/tansu/a").content == b"1"


def test_a_path_out_of_the_directory_is_refused(send: Send, tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_text("secret")
    for path in ("/tansu/%2e%2e/secret", "/tansu/a/%2e%2e/%2e%2e/secret", "/tansu/%2Fetc/passwd"):
        assert send("PUT", path, b"x").status_code in (400, 404, 405)
        assert send("GET", path).status_code in (400, 404)
        assert send("DELETE", path).status_code in (400, 404, 405)
    assert (tmp_path.parent / "secret").read_text() == "secret"


def test_a_directory_that_cannot_be_written_answers_503_and_recovers(send: Send, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file, where a folder has to be")
    assert send("PUT", "/tansu/in-the-way/a", b"1").status_code == 503
    (tmp_path / "in-the-way").unlink()
    assert send("PUT", "/tansu/in-the-way/a", b"1").status_code == 200


def test_a_deleted_object_is_gone(send: Send) -> None:
    send("PUT", "/tansu/a", b"1")
    assert send("DELETE", "/tansu/a").status_code == 204
    assert send("GET", "/tansu/a").status_code == 404


def test_after_a_batch_that_could_not_be_stored_the_service_ends_so_that_its_offsets_are_taken_back(
    tmp_path: Path,
) -> None:
    (tmp_path / "in-the-way").write_text("a file, where a folder has to be")
    port = free_port()
    command = [sys.executable, "-m", "streams.engines.object_store", "--directory", str(tmp_path), "--port", str(port)]
    service = subprocess.Popen(command, env=os.environ | {"AWS_ACCESS_KEY_ID": KEY})
    try:
        deadline = time.monotonic() + 30
        while not serves(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/x"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/tansu", headers=signed) as client:
            assert client.put("/in-the-way/mark.json", content=b"1").status_code == 503
            assert client.put("/fine/0.batch", content=b"1").status_code == 200
            assert client.put("/in-the-way/0.batch", content=b"1").status_code == 503
        service.wait(30)
    finally:
        service.kill()
        service.wait()
