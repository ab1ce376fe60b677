"""What the gateway answers before the broker is asked; here there is none, so what is valid gets 503."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

from streams.access import new_key
from streams.gateway import create_gateway
from streams.settings import Gateway, Key, Settings
from tocsin import Interaction

VALID = {"application": "shop", "prompt": "q", "response": "a"}
JSON = {"Content-Type": "application/json"}


def gateway(disk_free_bytes: int = 0, **options: Any) -> TestClient:
    settings = Settings(disk_free_bytes=disk_free_bytes, gateway=Gateway(spool_bytes=0, **options))
    app = create_gateway(settings, "127.0.0.1:9", verify_run=lambda run_id, token: (run_id, token) == ("run-1", "t"))
    return TestClient(app, base_url="http://127.0.0.1:8321")


def post(client: TestClient, body: bytes, path: str = "/v1/interactions", **headers: str) -> httpx.Response:
    said = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    answer: httpx.Response = client.post(path, content=body, headers=said)
    return answer


def faults(answer: httpx.Response) -> dict[str, str]:
    return {fault["field"]: fault["problem"] for fault in answer.json()["error"]["fields"]}


def test_a_valid_interaction_waits_for_a_broker_that_is_away() -> None:
    answer = gateway().post("/v1/interactions", json=VALID)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "broker" in answer.json()["error"]["message"]


def test_every_field_at_fault_is_named_and_nothing_of_the_content_comes_back() -> None:
    good = VALID | {"response": "secret"}
    bad = VALID | {"prompt": {"secret": 1}, "latency_ms": "secret", "misspelt": "secret"}
    answer = gateway().post("/v1/interactions", json=[good, bad, {"prompt": [{"role": "user"}]}])
    assert answer.status_code == 400
    assert set(faults(answer)) == {
        "1.prompt", "1.latency_ms", "1.misspelt", "2.prompt", "2.prompt.0.content", "2.application", "2.response",
    }  # fmt: skip
    assert "secret" not in answer.text


def test_of_a_single_object_the_field_is_named_without_a_number() -> None:
    assert set(faults(gateway().post("/v1/interactions", json={"prompt": "q"}))) == {"application", "response"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\x00",
        b"null",
        b"7",
        b'"text"',
        b"[[]]",
        b"[null]",
        b'{"application":"a","prompt":"q","response":"\\ud800"}',
        b'{"application":"a","prompt":"q","response":"a","\\ud800":1}',
        b'{"application":"a","prompt":"q","response":"a","attributes":{"\\udfff":"x"}}',
        b'{"application":"a","prompt":"q","response":"a","latency_ms":NaN}',
        b'{"application":"a","prompt":"q","response":"a","latency_ms":1e999}',
        b'{"application":"a","prompt":"q","response":"a","latency_ms":' + b"9" * 5_000 + b"}",
        b'{"application":"a","prompt":"q","response":"a","latency_ms":' + b"9" * 400 + b"}",
        b'{"application":"a","prompt":"q","response":"a","response":"b"}',
        b'{"application":"a","prompt":"q","response":"a","schema_version":2}',
        b'{"application":"a","prompt":"q","response":"a","occurred_at":"yesterday"}',
        b'{"application":"a","prompt":"q","response":"a","occurred_at":"2026-01-01T00:00:00"}',
        b'{"application":"a","prompt":"q","response":"a","occurred_at":"9999-12-31T23:59:59-23:59"}',
        b'{"application":"a","prompt":"q","response":"a","occurred_at":1e300}',
        b"[" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
    ],
)
def test_bodies_that_are_no_interaction_get_400(body: bytes) -> None:
    assert post(gateway(), body).status_code == 400


@pytest.mark.parametrize("path", ["/v1/interactions", "/v1/feedback", "/v1/commands"])
@hypothesis_settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=200))
@example(body=b'{"\xed\xa0\x80":1}')
def test_arbitrary_bytes_are_answered_and_never_with_an_error_of_ours(path: str, body: bytes) -> None:
    assert post(FUZZED, body, path).status_code in {202, 400}  # 202 for an empty list
    assert post(FUZZED, body, path, Content_Encoding="gzip").status_code == 400


FUZZED = gateway()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
NAMES = sorted(Interaction.model_fields)
NEARLY = st.dictionaries(st.sampled_from([*NAMES, "kind", "value", "incident_id", "reference_id"]), ANYTHING).map(
    lambda fields: VALID | fields
)


@pytest.mark.parametrize("path", ["/v1/interactions", "/v1/feedback", "/v1/commands"])
@hypothesis_settings(max_examples=80, deadline=None)
@given(document=ANYTHING | NEARLY | st.lists(NEARLY, max_size=3))
def test_arbitrary_json_is_answered_and_503_only_when_it_was_valid(path: str, document: Any) -> None:
    answer = post(FUZZED, json.dumps(document).encode(), path)
    if answer.status_code == 503:
        assert path == "/v1/interactions"
        for one in document if isinstance(document, list) else [document]:
            Interaction.model_validate(one)
    else:
        assert answer.status_code == (202 if document == [] and path != "/v1/commands" else 400)


def test_a_refused_document_really_is_no_interaction() -> None:
    with pytest.raises(ValidationError):
        Interaction.model_validate(VALID | {"latency_ms": -1})
    assert gateway().post("/v1/interactions", json=VALID | {"latency_ms": -1}).status_code == 400


def test_gzip_is_read_and_bounded_by_what_it_becomes() -> None:
    client = gateway(max_body_bytes=100_000)
    valid = gzip.compress(json.dumps(VALID).encode())
    assert post(client, valid, Content_Encoding="gzip").status_code == 503
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert post(client, bomb, Content_Encoding="gzip").status_code == 413
    assert post(client, valid[:-4], Content_Encoding="gzip").status_code == 400
    assert post(client, valid + b"x", Content_Encoding="gzip").status_code == 400


def test_what_is_too_large_gets_413_before_and_after_it_is_read() -> None:
    client = gateway(max_body_bytes=1_000, max_batch=3)
    assert post(client, b" " * 1_001).status_code == 413
    assert client.post("/v1/interactions", content=iter([b" " * 600] * 2), headers=JSON).status_code == 413
    assert client.post("/v1/interactions", json=[VALID] * 4).status_code == 413


def test_a_message_that_no_topic_takes_gets_413_with_its_place() -> None:
    answer = gateway().post("/v1/interactions", json=[VALID, VALID | {"response": "x" * 1_100_000}])
    assert answer.status_code == 413
    assert list(faults(answer)) == ["1"]


def test_other_types_and_encodings_get_415() -> None:
    body = json.dumps(VALID).encode()
    assert post(gateway(), body, Content_Type="text/plain").status_code == 415
    assert post(gateway(), body, Content_Encoding="br").status_code == 415
    assert post(gateway(), body, Content_Type="application/json; charset=utf-8").status_code == 503


def test_a_disk_that_is_nearly_full_stops_publishing() -> None:
    answer = gateway(disk_free_bytes=2**62).post("/v1/interactions", json=VALID)
    assert answer.status_code == 503
    assert "disk" in answer.json()["error"]["message"]
    assert "Retry-After" in answer.headers


def test_more_requests_than_may_wait_get_429_until_one_is_done() -> None:
    async def scene() -> list[int]:
        app = gateway(max_in_flight=1).app
        arrived, rest = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            arrived.set()
            await rest.wait()
            yield json.dumps(VALID).encode()

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            first = asyncio.create_task(client.post("/v1/interactions", content=slow(), headers=JSON))
            await arrived.wait()
            second = await client.post("/v1/interactions", json=VALID)
            rest.set()
            third = await first
            fourth = await client.post("/v1/interactions", json=VALID)
        assert second.headers["Retry-After"]
        return [second.status_code, third.status_code, fourth.status_code]

    assert asyncio.run(scene()) == [429, 503, 503]


def test_keys_open_what_their_scopes_say_and_the_answer_says_what_is_missing() -> None:
    publish, read = new_key(), new_key()
    keys = [Key(name="svc", sha256=publish[1], scopes=["publish"]), Key(name="ana", sha256=read[1], scopes=["read"])]
    client = gateway(keys=keys)

    def ask(key: str, path: str = "/v1/interactions") -> httpx.Response:
        return post(client, json.dumps(VALID).encode(), path, Authorization=key)

    missing = client.post("/v1/interactions", json=VALID)
    assert (missing.status_code, missing.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
    assert ask("Bearer tocsin_wrong").status_code == 401
    assert ask(f"Basic {publish[0]}").status_code == 401
    assert ask(f"Bearer {publish[0]}").status_code == 503
    lacking = ask(f"Bearer {read[0]}")
    assert lacking.status_code == 403
    assert "'publish'" in lacking.json()["error"]["message"]
    assert "'operate'" in ask(f"Bearer {publish[0]}", "/v1/commands").json()["error"]["message"]
    assert client.get("/metrics", headers={"Authorization": f"Bearer {read[0]}"}).status_code == 200
    assert client.get("/metrics").status_code == 401
    assert client.get("/healthz").status_code == 200


def test_without_keys_a_web_page_under_a_foreign_name_is_kept_out() -> None:
    body = json.dumps(VALID).encode()
    assert post(gateway(), body, Host="evil.example:8321").status_code == 403
    assert post(gateway(allowed_hosts=["tocsin.lan"]), body, Host="tocsin.lan:8321").status_code == 503


def test_a_run_reports_only_with_the_token_of_that_run() -> None:
    client = gateway()

    def report(run_id: str, token: str, body: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return int(client.post(f"/v1/retraining/{run_id}/status", json=body, headers=headers).status_code)

    assert report("run-1", "", {"state": "succeeded"}) == 401
    assert report("run-2", "t", {"state": "succeeded"}) == 403
    assert report("run-1", "t", {"state": "succeeded", "metrics": {"f1": 0.9}}) == 503
    assert report("run-1", "t", {"state": "exploded"}) == 400
    assert report("run-1", "t", {"state": "failed", "run_id": "run-2"}) == 400
    assert report("run-1", "t", []) == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "acknowledge"}, "incident_id"),
        ({"kind": "acknowledge", "incident_id": "i", "actor": "boss"}, "actor"),
        ({"kind": "promote", "application": "shop"}, "reference_id"),
        ({"kind": "run_status", "run_id": "r", "state": "succeeded"}, "body"),
    ],
)
def test_commands_name_the_field_at_fault(body: Any, field: str) -> None:
    answer = gateway().post("/v1/commands", json=body)
    assert answer.status_code == 400
    assert list(faults(answer)) == [field]


def test_requests_are_counted_by_route_and_status() -> None:
    client = gateway()
    client.post("/v1/interactions", json=VALID)
    client.post("/v1/interactions", json={})
    shown = client.get("/metrics").text
    for status in ("400", "503"):
        assert f'tocsin_gateway_requests_total{{route="/v1/interactions",status="{status}"}} 1.0' in shown
    assert "tocsin_gateway_in_flight 0.0" in shown


def test_nothing_of_what_is_sent_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = gateway()
    client.post("/v1/interactions", json=VALID | {"prompt": "secret"})
    client.post("/v1/interactions", json=VALID | {"prompt": ["secret"]})
    assert "secret" not in caplog.text
