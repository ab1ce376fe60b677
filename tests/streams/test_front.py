"""What the command line asks of a running system over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from sinks.clickhouse import Store
from streams.access import new_key
from streams.control import control_routes
from streams.engines import Engines
from streams.front import Front, create_front
from streams.gateway.publisher import BrokerAway
from streams.listening import listen
from streams.ownership import answering, owned
from streams.settings import Broker, Settings
from streams.topics import ensure_topics
from tests.program import environment
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


ASKED = [["audit", "--json"], ["dead-letters", "list", "--json"], ["sql", "SELECT 1 AS one", "--json"]]
PROGRAM = """
import sys
from streams.cli import app
app(sys.argv[1:], standalone_mode=False)
heavy = {"torch", "faust", "sklearn", "onnxruntime", "scipy", "pandas", "chdb", "pyarrow"} & sys.modules.keys()
print(*sorted(heavy), file=sys.stderr)
"""


def ask(data: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command, which says at its end on standard error what it has loaded that is heavy."""
    where = ["--data", str(data)]
    command = [sys.executable, "-c", PROGRAM, *arguments, *where]
    return subprocess.run(command, env=environment({}), capture_output=True, text=True, timeout=120)


def test_a_command_that_asks_a_running_system_loads_nothing_heavy(
    store: Store, embedded_broker: str, tmp_path: Path
) -> None:
    ensure_topics(Broker(bootstrap=embedded_broker))
    app = Starlette(routes=control_routes(Settings(), Engines(embedded_broker, store), send))

    async def answers() -> list[subprocess.CompletedProcess[str]]:
        with listen("127.0.0.1", 0) as listening, owned(tmp_path):
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with answering(tmp_path, url, embedded_broker):
                async with Front(app, listening):
                    return [await asyncio.to_thread(ask, tmp_path, arguments) for arguments in ASKED]

    audit, letters, one = asyncio.run(answers())
    assert {each.stderr.strip() for each in (audit, letters, one)} == {""}
    assert json.loads(audit.stdout)["total"]["lost"] == 0
    assert (json.loads(letters.stdout), json.loads(one.stdout)) == ([], {"one": 1})


def test_a_command_that_opens_the_engines_itself_loads_no_model_and_no_worker(tmp_path: Path) -> None:
    with owned(tmp_path):
        pass  # as whoever ran here did
    audit = ask(tmp_path, ASKED[0])
    assert set(audit.stderr.split()) <= {"chdb", "pandas", "pyarrow"}  # the store's own
    assert json.loads(audit.stdout)["exact"]


@pytest.mark.parametrize(
    ("sql", "status", "said"),
    [
        ("SELECT count() AS n FROM interactions", 200, "[{"),
        ("SELECT 1 / 0 AS x, now() AS t", 200, '"inf"'),
        ("SELECT foo FROM interactions", 400, "UNKNOWN_IDENTIFIER (47): Unknown expression identifier `foo`"),
        ("SELECT * FROM system.users", 400, "there is no table"),
        ("DROP TABLE pages", 400, "only SELECT"),
    ],
)
def test_sql_answers_with_rows_or_with_what_is_wrong(store: Store, sql: str, status: int, said: str) -> None:
    answer = client(store, Settings()).post("/v1/sql", content=sql)
    assert answer.status_code == status
    assert said in answer.text
    assert "SETTINGS" not in answer.text


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


@pytest.mark.parametrize("begun", [False, True])
def test_a_request_that_outlasts_the_server_is_told_to_try_again(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    """As while ClickHouse hangs: it ends without an answer, or in the middle of it, and not as an error of ours."""

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        asked.set()
        await asyncio.Event().wait()

    async def ask(url: str) -> httpx.Response | None:
        async with httpx.AsyncClient() as client:
            try:
                return await client.get(url, timeout=30)
            except httpx.RemoteProtocolError:
                return None

    async def run() -> httpx.Response | None:
        with listen("127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            async with Front(Starlette(routes=[Mount("/", hang)]), listening):
                asking = asyncio.create_task(ask(url))
                await asked.wait()
        return await asking

    asked = asyncio.Event()
    answer = asyncio.run(run())
    if begun:
        assert answer is None
    else:
        assert answer is not None
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert not [record for record in caplog.records if record.exc_info]


def test_an_address_that_nobody_answers_is_told_to_programs_as_json(store: Store, tmp_path: Path) -> None:
    front = create_front(Settings(data_directory=tmp_path), Engines("127.0.0.1:1", store), "http://127.0.0.1")
    program = TestClient(front, base_url="http://127.0.0.1")
    expected = {("GET", "/v1/nothing"): 404, ("POST", "/v1/nothing/at/all"): 404, ("GET", "/v1/interactions"): 405}
    for (method, address), status in expected.items():
        answer = program.request(method, address)
        assert answer.status_code == status
        assert "docs/http.md" in answer.json()["error"]["message"]
        assert answer.headers.get("Allow") == ("POST" if status == 405 else None)
