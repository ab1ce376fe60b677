"""Starts runs by a signed POST. At least once, with the run id as `Idempotency-Key`: receivers answer 409 to repeats.

`X-Tocsin-Signature` is `sha256=` and the HMAC-SHA256, in hex and keyed with the shared secret, of `X-Tocsin-Timestamp`
(Unix seconds), a full stop and the body. A receiver checks both and refuses what is older than a few minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import orjson

from sinks.retraining.target import (
    Exited,
    Options,
    Refused,
    RetrainingConfigurationError,
    Run,
    Running,
    Started,
    Unavailable,
)

TIMEOUT_SECONDS = 20.0
_TEMPORARY = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS})


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What `X-Tocsin-Signature` holds."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookTarget:
    """Posts runs to one address; `clock` gives Unix seconds.

    Raises:
        RetrainingConfigurationError: the address is none, or the secret is empty.
    """

    name = "webhook"

    def __init__(self, url: str, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL:
            raise RetrainingConfigurationError("retraining.webhook_url: no valid address") from None
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise RetrainingConfigurationError("retraining.webhook_url: must begin with http:// or https:// and a host")
        if not secret:
            raise RetrainingConfigurationError("retraining.secret: a web hook needs one to sign with")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and this one may hold a token
        self._secret = secret
        self._clock = clock

    def start(self, run: Run, bundle: Path) -> Started | Refused | Unavailable:
        """Post the run. The bundle's path is of use where receiver and installation share a file system."""
        body = orjson.dumps(
            {
                "run_id": run.run_id,
                "incident_id": run.incident_id,
                "application": run.application,
                "callback_url": run.callback_url,
                "callback_token": run.callback_token,
                "bundle": str(bundle),
            }
        )
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": run.run_id,
            "X-Tocsin-Timestamp": timestamp,
            "X-Tocsin-Signature": signature(self._secret, timestamp, body),
        }
        try:
            response = httpx.post(self._url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:  # its text may show the address, which may hold a token
            return Unavailable(f"no answer: {type(error).__name__}")
        return _result(response.status_code)

    def poll(self, run: Run) -> Running | Exited:
        """Always running: a web hook cannot be asked. The callback or the time limit ends the run."""
        return Running()


def build(options: Options) -> WebhookTarget:
    """The target as configured."""
    return WebhookTarget(options.webhook_url, options.secret)


def _result(status: int) -> Started | Refused | Unavailable:
    if httpx.codes.is_success(status) or status == httpx.codes.CONFLICT:
        return Started()
    if httpx.codes.is_client_error(status) and status not in _TEMPORARY:
        return Refused(f"the receiver answered {status}")
    return Unavailable(f"the receiver answered {status}")
