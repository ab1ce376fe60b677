"""Tells people, through Apprise: pages of an incident gather in the outbox and go out as one message to each target.

    Untold, … ─ are_ripe ─▶ planned: row pending ─▶ Notifier.send ─▶ after_attempt: row sent, or pending again

At least once: a message is written, with its id and the ids of its pages, before it is sent, and marked after. A crash
between sending and marking sends the very same message once more. Its id is the last line of its body and, where the
receiver is a plain web hook, a header, so that a receiver can drop the repeat.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import unquote, urlsplit
from uuid import NAMESPACE_OID, uuid5

import apprise

WEB_HOOKS = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Apprise schemes that post to a host of the user's own; they take headers, and their host is no secret."""

_NAMESPACE = uuid5(NAMESPACE_OID, "tocsin notification")
_LONGEST_REASON = 300


class NotificationConfigurationError(Exception):
    """An entry of `notification.urls` is wrong; the message is one line that names the entry, not its content."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The target took the message."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The target did not take the message, or not in time; try again later. The reason holds no part of its URL."""

    reason: str


@dataclass(frozen=True, slots=True)
class Untold:
    """A page, as JSON, that a target is to be told of; a row of `outbox`."""

    target: str
    page_id: str
    incident_id: str
    page: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one target, about pages of one incident; a version of its row in `notifications`."""

    notification_id: str
    page_ids: Sequence[str]
    incident_id: str
    target: str
    state: Literal["pending", "sent"]
    attempts: int
    last_error: str
    created_at: datetime
    updated_at: datetime
    title: str
    body: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long pages gather: from the first of them on, and after the last message about the same incident."""

    group: timedelta
    follow_up: timedelta


def are_ripe(untold: Sequence[Untold], earlier: Sequence[Notification], pauses: Pauses, now: datetime) -> bool:
    """Whether pages of an incident are to be told now, `earlier` being the messages about it to the same target.

    While one of those is pending they wait: a target that was away gets one message more, and not one for each pause.
    """
    if any(each.state == "pending" for each in earlier):
        return False
    told = (_is_over(each.updated_at, pauses.follow_up, now) for each in earlier)
    return _is_over(min(each.added_at for each in untold), pauses.group, now) and all(told)


def planned(
    incident_id: str, target: str, page_ids: Sequence[str], title: str, body: str, now: datetime
) -> Notification:
    """A message that is to be sent; equal pages and targets have equal ids, whenever they are planned."""
    notification_id = str(uuid5(_NAMESPACE, json.dumps([target, *sorted(page_ids)])))
    return Notification(notification_id, page_ids, incident_id, target, "pending", 0, "", now, now, title, body)


def is_due(row: Notification, retry: timedelta, now: datetime) -> bool:
    """Whether a message is to be sent now: a first try at once, another `retry` after the last one."""
    return row.state == "pending" and (row.attempts == 0 or _is_over(row.updated_at, retry, now))


def _is_over(since: datetime, pause: timedelta, now: datetime) -> bool:
    """Whether a pause has passed; one that begins in the future has, since the clock was wrong then or is now."""
    return not since <= now < since + pause


def after_attempt(row: Notification, result: Delivered | Failed, now: datetime) -> Notification:
    """The next version of a row. A failure stays pending for ever: a person who is not told is an incident missed.

    Delivered outweighs a failure of the same try, which a worker that hung meanwhile may report later.
    """
    tried = replace(row, attempts=row.attempts + 1, updated_at=now, version=row.version + 1)
    if isinstance(result, Delivered):
        return replace(tried, state="sent", last_error="", version=row.version + 2)
    return replace(tried, last_error=result.reason)


def target_name(url: str) -> str:
    """A name for tables and logs that gives nothing away: scheme, host of a plain web hook, and a short hash.

    Other schemes keep tokens where the host stands. The hash is a slow one, since a URL may hold a guessable password.
    """
    parts = urlsplit(url)
    host = f"://{parts.netloc.rpartition('@')[2]}" if parts.scheme in WEB_HOOKS else ""
    return f"{parts.scheme}{host}#{hashlib.pbkdf2_hmac('sha256', url.encode(), b'tocsin target', 100_000, 4).hex()}"


class Notifier:
    """Sends to the configured targets. Blocks; may be called from several threads at once.

    Args:
        urls: Apprise URLs; equal ones are one target.
        timeout_seconds: for one message to one target, all of its requests together.

    Raises:
        NotificationConfigurationError: Apprise does not understand one of them.
    """

    def __init__(self, urls: Sequence[str], *, timeout_seconds: float = 30) -> None:
        _silence_apprise()
        for index, url in enumerate(urls):
            if "://" not in url or _service(url) is None:
                raise NotificationConfigurationError(f"notification.urls: entry {index + 1} is no complete Apprise URL")
        self._urls = {target_name(url): url for url in urls}
        self._timeout_seconds = timeout_seconds

    @property
    def targets(self) -> tuple[str, ...]:
        """The name of each target, in the order of the settings."""
        return tuple(self._urls)

    def send(self, target: str, title: str, body: str, notification_id: str) -> Delivered | Failed:
        """Send one plain-text message. Never raises for what a target does; the id is added to body and headers."""
        url = self._urls.get(target)
        service = None if url is None else _service(url)
        if url is None or service is None:
            return Failed("no such target is configured")
        if urlsplit(url).scheme in WEB_HOOKS:
            headers: dict[str, str] = vars(service)["headers"]  # not declared by the class they share
            headers |= {"X-Tocsin-Id": notification_id, "Idempotency-Key": notification_id}
        sender = apprise.Apprise()
        sender.add(service)
        if "overflow" not in urlsplit(url).query:
            service.overflow_mode = apprise.OverflowMode.SPLIT  # what is refused for its length would never be told
        result = sender.notify(
            f"{body}\nnotification: {notification_id}",
            title,
            notify_type=apprise.NotifyType.WARNING,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=self._timeout_seconds,
        )
        if result:
            return Delivered()
        said = [entry.message for service_result in result for entry in service_result.logs()]
        return Failed(_without_secrets(said[-1] if said else f"Apprise reports {result.status.name.lower()}", url))


def _service(url: str) -> apprise.NotifyBase | None:
    """A service of its own for each message: headers differ, and nothing is shared between threads."""
    return apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(app_id="tocsin", app_desc="tocsin"))


def _silence_apprise() -> None:
    """Keep Apprise's log out of ours: it names tokens, and whole messages at debug level; `Failed` says what failed."""
    logging.getLogger("apprise").propagate = False
    logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines show paths, which hold tokens


def _without_secrets(reason: str, url: str) -> str:
    """The reason without any part of the URL of four characters or more, but for the host that the name shows too."""
    parts = urlsplit(url)
    public = {parts.scheme, parts.hostname} if parts.scheme in WEB_HOOKS else {parts.scheme}
    pieces = {piece for text in (url, unquote(url)) for piece in re.split(r"[/:?&=@#+,\s]+", text)}
    for piece in sorted(pieces - public, key=len, reverse=True):
        if len(piece) >= 4:
            reason = reason.replace(piece, "…")
    return reason[:_LONGEST_REASON]
