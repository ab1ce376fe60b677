"""Through the gateway with httpx. At least once; acknowledged means that the broker acknowledged it to the gateway."""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Iterator, Sequence

import httpx

from tocsin.messages import FEEDBACK, INTERACTIONS
from tocsin.transports import Message, Outcome

PATHS = {INTERACTIONS: "/v1/interactions", FEEDBACK: "/v1/feedback"}
LIST_LENGTH = 200
LIST_BYTES = 2_000_000
COMPRESS_FROM_BYTES = 1_024
TIMEOUT = httpx.Timeout(15.0, connect=5.0)

DIVISIBLE = frozenset({400, 413, 422})
"""Answers to a list that may be the fault of one member: the halves are tried by themselves."""
TRY_AGAIN = frozenset({408, 425, 429})


class HttpTransport:
    """Posts lists of up to 200 to the gateway."""

    def __init__(self, url: str, api_key: str | None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT)

    def deliver(self, messages: Sequence[Message]) -> Outcome:
        """Post all; stops at the first answer that asks for patience."""
        lists = deque(_lists(messages))
        acknowledged = refused = 0
        reason = ""
        while lists:
            part = lists.popleft()
            try:
                status, retry_after_seconds = self._post(part)
            except httpx.HTTPError as error:
                status, retry_after_seconds, reason = 503, 0.0, type(error).__name__
            else:
                reason = reason if status == 202 else f"HTTP {status}"
            if status == 202:
                acknowledged += len(part)
            elif status in TRY_AGAIN or status >= 500:
                undelivered = [message for left in (part, *lists) for message in left]
                return Outcome(acknowledged, refused, undelivered, reason, retry_after_seconds)
            elif status in DIVISIBLE and len(part) > 1:
                lists.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
            else:
                refused += len(part)
        return Outcome(acknowledged, refused, reason=reason)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _post(self, part: Sequence[Message]) -> tuple[int, float]:
        """The status of the answer, and the seconds in its Retry-After.

        Raises:
            httpx.HTTPError: there was no answer.
        """
        body = b"[" + b",".join(message.value for message in part) + b"]"
        headers = {"Content-Type": "application/json"}
        if len(body) >= COMPRESS_FROM_BYTES:
            body, headers["Content-Encoding"] = gzip.compress(body, compresslevel=5), "gzip"
        answer = self._http.post(PATHS[part[0].topic], content=body, headers=headers)
        retry_after = answer.headers.get("Retry-After", "")
        return answer.status_code, float(retry_after) if retry_after.isdecimal() else 0.0


def _lists(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Bodies to post: one topic each, bounded in number and bytes; an interaction comes before feedback on it."""
    for topic in PATHS:
        part: list[Message] = []
        size = 0
        for message in messages:
            if message.topic != topic:
                continue
            if part and (len(part) == LIST_LENGTH or size + len(message.value) > LIST_BYTES):
                yield part
                part, size = [], 0
            part.append(message)
            size += len(message.value)
        if part:
            yield part
