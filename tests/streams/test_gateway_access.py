"""Keys, and what keeps strangers and other web pages away from ours."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from streams.access import Csrf, Denied, Granted, PageAccess, check_host, check_key, checked_form, digest, new_key
from streams.settings import Gateway, Key, Settings

HERE = {"Host": "127.0.0.1:8321", "Origin": "http://127.0.0.1:8321"}
NOW = 1_800_000_000.0


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def pages(public_url: str = "", **options: Any) -> tuple[TestClient, Csrf]:
    csrf = Csrf(b"secret")

    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.user)

    async def change(request: Request) -> PlainTextResponse:
        form = await checked_form(request, csrf, NOW)
        return PlainTextResponse(form["note"])

    routes = [Route("/", show), Route("/", change, methods=["POST"])]
    app = PageAccess(Starlette(routes=routes), Settings(public_url=public_url, gateway=Gateway(**options)))
    return TestClient(app, base_url="http://127.0.0.1:8321"), csrf


def test_a_new_key_is_long_unique_and_known_by_its_hash_alone() -> None:
    (key, hashed), (other, _) = new_key(), new_key()
    assert key != other
    assert len(key) > 40
    assert digest(key) == hashed
    keys = [Key(name="a", sha256=digest("x"), scopes=["read"]), Key(name="b", sha256=hashed, scopes=["publish"])]
    assert check_key(keys, f"bearer {key}", "publish") == Granted("b")
    assert check_key(keys, f"Bearer {hashed}", "publish") == Denied(401, "this API key is not known")
    refused = check_key(keys, f"Bearer {key}", "operate")
    assert isinstance(refused, Denied)
    assert refused.status == 403
    assert "operate" in refused.reason


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1:8321", True),
        ("LOCALHOST", True),
        ("[::1]:8321", True),
        ("tocsin.lan", True),
        ("watch.example", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example@127.0.0.1.evil", False),
        ("0.0.0.0", False),
        ("[", False),
        ("", False),
    ],
)
def test_only_our_own_names_are_served(host: str, served: bool) -> None:
    key = Key(name="k", sha256=digest("k"), scopes=["publish"])
    login = {"login_user": "ann", "login_sha256": digest("pw")}
    open_to_all = Gateway(host="0.0.0.0", allowed_hosts=["Tocsin.lan"], keys=[key], **login)
    verdict = check_host(host, Settings(public_url="https://watch.example/tocsin", gateway=open_to_all))
    assert isinstance(verdict, Granted) == served


def test_on_loopback_without_a_login_the_pages_are_open_to_this_machine() -> None:
    client, _ = pages()
    assert client.get("/").text == "local"
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!!", "Basic \xe9", basic("ann", "wrong"), basic("bob", "pw"), basic("ann", ""), "Bearer pw"],
)
def test_a_wrong_login_is_asked_for_again(authorization: str) -> None:
    client, _ = pages(login_user="ann", login_sha256=digest("pw"))
    answer = client.get("/", headers={"Authorization": authorization.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_the_right_login_is_let_in_by_name() -> None:
    client, _ = pages(login_user="änn", login_sha256=digest("p:w"))
    assert client.get("/", headers={"Authorization": basic("änn", "p:w")}).text == "änn"


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999", "https://"])
def test_a_form_from_elsewhere_is_refused(origin: str | None) -> None:
    client, csrf = pages()
    headers = {"Origin": origin} if origin is not None else {}
    form = {"note": "x", "csrf": csrf.token("local", NOW)}
    assert client.post("/", data=form, headers=headers).status_code == 403


def test_a_form_from_our_own_page_is_taken_also_behind_a_proxy() -> None:
    client, csrf = pages(public_url="https://watch.example")
    form = {"note": "seen: ä&b", "csrf": csrf.token("local", NOW)}
    assert client.post("/", data=form, headers=HERE).text == "seen: ä&b"
    assert client.post("/", data=form, headers={"Origin": "https://watch.example"}).status_code == 200


def test_a_form_without_a_good_token_is_refused() -> None:
    client, csrf = pages()
    old = csrf.token("local", NOW - 13 * 3600)
    foreign = Csrf(b"other").token("local", NOW)
    stretched = old.replace(old.partition(".")[0], str(int(NOW) + 9_999))
    for token in ("", "x", "1.", "\u0663.x", old, foreign, stretched, csrf.token("bob", NOW)):
        assert client.post("/", data={"note": "x", "csrf": token}, headers=HERE).status_code == 403
    assert client.post("/", data={"note": "x" * 70_000}, headers=HERE).status_code == 413
