"""Who may do what: API keys with scopes, and the login, Host, Origin and form tokens of the web pages.

Decisions are pure and say why; `PageAccess` applies them to the pages, the gateway to its routes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from streams.settings import LOOPBACK, Gateway, Key, Scope, Settings

READING = frozenset({"GET", "HEAD", "OPTIONS"})
WILDCARD_HOSTS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  compared with, never bound to
FORM_BYTES = 65_536
FORM_LIFETIME_SECONDS = 12 * 3600
CSRF_FIELD = "csrf"


@dataclass(frozen=True, slots=True)
class Granted:
    """Let in. `name` is the key's name or the user, for the record of who did what."""

    name: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Kept out: the HTTP status, and a reason to show."""

    status: Literal[401, 403]
    reason: str


LOCAL = Granted("local")
"""Whoever is on this machine, where neither keys nor a login are set; settings allow that on loopback alone."""


def new_key() -> tuple[str, str]:
    """A fresh API key, to be shown once, and its SHA-256, to be configured."""
    key = f"tocsin_{secrets.token_urlsafe(32)}"
    return key, digest(key)


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal, the form in which keys and passwords are configured."""
    return sha256(secret.encode()).hexdigest()


def check_key(keys: Sequence[Key], authorization: str, scope: Scope) -> Granted | Denied:
    """Judge an Authorization header by the configured keys; takes equally long for every unknown key."""
    if not keys:
        return LOCAL
    token = bearer(authorization)
    if not token:
        return Denied(401, "an API key is needed: 'Authorization: Bearer KEY'")
    presented = digest(token)
    matching = [key for key in keys if hmac.compare_digest(key.sha256, presented)]
    if not matching:
        return Denied(401, "this API key is not known")
    if scope not in matching[0].scopes:
        return Denied(403, f"this API key lacks the scope '{scope}'")
    return Granted(matching[0].name)


def bearer(authorization: str) -> str:
    """The token of an Authorization header; empty if it has none (a token is ASCII by the standard)."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.isascii() else ""


def check_host(host: str, settings: Settings) -> Granted | Denied:
    """Judge a Host header. A foreign name that resolves to this machine is how a web page would reach loopback."""
    configured = {*LOOPBACK, *settings.gateway.allowed_hosts, settings.gateway.host} - WILDCARD_HOSTS
    public = urlsplit(settings.public_url).hostname
    if _hostname(host) in {name.lower() for name in configured} | ({public} if public else set()):
        return LOCAL
    return Denied(403, "this Host is not served here; add it to gateway.allowed_hosts")


def check_page(method: str, headers: Mapping[str, str], settings: Settings) -> Granted | Denied:
    """Judge a request to the web pages: its Host, its login, and for a form its Origin."""
    host = headers.get("host", "")
    allowed = check_host(host, settings)
    if isinstance(allowed, Denied):
        return allowed
    login = check_login(headers.get("authorization", ""), settings.gateway)
    if isinstance(login, Denied) or method in READING:
        return login
    origin = urlsplit(headers.get("origin", "")).netloc.lower()
    if origin and origin in {host.lower(), urlsplit(settings.public_url).netloc.lower()}:
        return login
    return Denied(403, "forms are taken only from these pages themselves (Origin)")


def check_login(authorization: str, gateway: Gateway) -> Granted | Denied:
    """Judge a Basic login; without a configured user, everyone on loopback is let in."""
    if not gateway.login_user:
        return LOCAL
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8
        user = password = ""
    known = hmac.compare_digest(user.encode(), gateway.login_user.encode())
    right = hmac.compare_digest(digest(password), gateway.login_sha256)
    if scheme.lower() == "basic" and known and right:
        return Granted(user)
    return Denied(401, "a login is needed")


class Csrf:
    """Tokens that prove a form came from our own page: bound to the user, valid for twelve hours and one process."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def token(self, user: str, now: float) -> str:
        """A token for the hidden field `csrf`; `now` in seconds since the epoch."""
        expires = str(int(now) + FORM_LIFETIME_SECONDS)
        return f"{expires}.{self._signature(user, expires)}"

    def valid(self, user: str, token: str, now: float) -> bool:
        """Whether this user was given the token, and recently enough."""
        expires, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(user, expires).encode()):
            return False
        return int(expires) > now

    def _signature(self, user: str, expires: str) -> str:
        return hmac.new(self._secret, f"{expires}\n{user}".encode(), sha256).hexdigest()


async def checked_form(request: Request, csrf: Csrf, now: float) -> dict[str, str]:
    """The fields of a form posted to a page behind `PageAccess`, without the token.

    Raises:
        HTTPException: 403 for a token that is missing, foreign or expired; 413 for a form over 64 KiB.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            raise HTTPException(413, "this form is too large")
    fields = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if not csrf.valid(request.state.user, fields.pop(CSRF_FIELD, ""), now):
        raise HTTPException(403, "this form has expired; reload the page and send it again")
    return fields


class PageAccess:
    """ASGI middleware around the web pages: refuses by `check_page`, and leaves the name in `request.state.user`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer for the pages, or pass the request on to them."""
        if scope["type"] == "http":
            verdict = check_page(scope["method"], Headers(scope=scope), self._settings)
            if isinstance(verdict, Denied):
                challenge = (
                    {"WWW-Authenticate": 'Basic realm="tocsin", charset="UTF-8"'} if verdict.status == 401 else {}
                )
                await PlainTextResponse(verdict.reason, verdict.status, challenge)(scope, receive, send)
                return
            scope.setdefault("state", {})["user"] = verdict.name
        await self._app(scope, receive, send)


def _hostname(host: str) -> str:
    """The name in a Host header, without its port and brackets; empty when it is no valid one."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # an unclosed bracket
        return ""
