"""What the command line asks of a running system over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from sinks.clickhouse import Store
from streams.access import new_key
from streams.control import control_routes
from streams.engines import Engines
from streams.gateway.publisher import BrokerAway
from streams.settings import Settings
from tocsin.contracts import now
from tocsin.messages import Source
from tocsin.transports import Message

KEYS = {name: new_key() for name in ("read", "publish", "raw", "operate")}
GUARDED = {
    "gateway": {"keys": [{"name": name, "sha256": sha256, "scopes": [name]} for name, (_, sha256) in KEYS.items()]}
}


async def send(messages: Sequence[Message]) -> list[Source]:
    raise BrokerAway("not connected to the broker yet")


def client(store: Store, settings: Settings) -> TestClient:
    routes = control_routes(settings, Engines("127.0.0.1:1", store), send)
    return TestClient(Starlette(routes=routes), base_url="http://127.0.0.1")


@pytest.mark.parametrize(
    ("sql", "status", "said"),
    [
        ("SELECT count() AS n FROM interactions", 200, "[{"),
        ("SELECT 1 / 0 AS x, now() AS t", 200, '"inf"'),
        ("SELECT foo FROM interactions", 400, "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM system.users", 400, "there is no table"),
        ("DROP TABLE pages", 400, "only SELECT"),
    ],
)
def test_sql_answers_with_rows_or_with_what_is_wrong(store: Store, sql: str, status: int, said: str) -> None:
    answer = client(store, Settings()).post("/v1/sql", content=sql)
    assert answer.status_code == status
    assert said in answer.text


def test_sql_needs_a_key_that_may_read_where_keys_are_configured(store: Store) -> None:
    guarded = client(store, Settings.model_validate(GUARDED))
    codes = {
        name: guarded.post("/v1/sql", content="SELECT 1", headers={"Authorization": f"Bearer {key}"}).status_code
        for name, (key, _) in {**KEYS, "unknown": ("no key", "")}.items()
    }
    assert codes == {"read": 200, "publish": 403, "raw": 403, "operate": 403, "unknown": 401}
    assert guarded.get("/v1/audit").status_code == 401


def test_a_foreign_host_header_is_refused_where_no_key_protects(store: Store) -> None:
    answer = client(store, Settings()).post("/v1/sql", content="SELECT 1", headers={"Host": "evil.example"})
    assert answer.status_code == 403


def letter(raw: str) -> dict[str, object]:
    place = {"topic": "tocsin.feedback", "source_partition": 0, "source_offset": 7, "received_at": now()}
    return place | {"reason": "schema", "detail": "value", "raw": raw, "retention_days": 14}


def test_the_bytes_of_dead_letters_are_for_keys_that_may_see_them_and_replaying_for_those_that_may_operate(
    store: Store,
) -> None:
    store.insert("dead_letters", [letter("secret")])
    guarded = client(store, Settings.model_validate(GUARDED))

    def ask(path: str, key: str, body: str = "{}") -> tuple[int, str]:
        answer = guarded.post(path, content=body, headers={"Authorization": f"Bearer {KEYS[key][0]}"})
        return answer.status_code, answer.text

    status, listed = ask("/v1/dead-letters", "read")
    assert (status, "tocsin.feedback/0/7" in listed, "secret" in listed) == (200, True, False)
    assert ask("/v1/dead-letters/raw", "read")[0] == 403
    assert ask("/v1/dead-letters/raw", "raw")[0] == 200
    assert ask("/v1/dead-letters/replay", "raw")[0] == 403
    status, replayed = ask("/v1/dead-letters/replay", "operate")
    assert (status, "unreadable" in replayed, "secret" in replayed) == (200, True, False)
    status, refused = ask("/v1/sql", "read", "SELECT raw FROM dead_letters")
    assert (status, "secret" in refused) == (400, False)
    assert "secret" in client(store, Settings()).post("/v1/sql", content="SELECT raw FROM dead_letters").text


def test_a_replay_says_what_is_wrong_with_it_and_that_the_broker_is_away(store: Store) -> None:
    open_to_all = client(store, Settings())
    for body in ("", "[]", '{"limit": 0}', '{"after": "x"}', '{"fixes": {"a/0/1": "no base64!"}}'):
        assert open_to_all.post("/v1/dead-letters/replay", content=body).status_code == 400
    store.insert("dead_letters", [letter("{}")])
    good = b'{"application": "shop", "interaction_id": "i", "kind": "label", "value": "x"}'
    fixes = {"tocsin.feedback/0/7": base64.b64encode(good).decode()}
    answer = open_to_all.post("/v1/dead-letters/replay", json={"fixes": fixes})
    assert (answer.status_code, "broker" in answer.text) == (503, True)
    assert store.query("SELECT * FROM dead_letter_replays") == []
