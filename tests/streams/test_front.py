"""What the command line asks of a running system over HTTP."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from sinks.clickhouse import Store
from streams.access import new_key
from streams.engines import Engines
from streams.front import control_routes
from streams.settings import Settings

KEYS = {name: new_key() for name in ("read", "publish")}
GUARDED = {
    "gateway": {"keys": [{"name": name, "sha256": sha256, "scopes": [name]} for name, (_, sha256) in KEYS.items()]}
}


def client(store: Store, settings: Settings) -> TestClient:
    routes = control_routes(settings, Engines("127.0.0.1:1", store))
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
    assert codes == {"read": 200, "publish": 403, "unknown": 401}
    assert guarded.get("/v1/audit").status_code == 401


def test_a_foreign_host_header_is_refused_where_no_key_protects(store: Store) -> None:
    answer = client(store, Settings()).post("/v1/sql", content="SELECT 1", headers={"Host": "evil.example"})
    assert answer.status_code == 403
