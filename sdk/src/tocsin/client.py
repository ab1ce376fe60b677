"""The client that a service holds: it takes interactions and feedback, and returns at once."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from pydantic import TypeAdapter

from tocsin.contracts import Feedback, Identifier, Interaction, Model, Name, PromptTemplate, Turn, Usage, new_id, now
from tocsin.transports import Transport
from tocsin.transports.courier import Courier, Stats

if TYPE_CHECKING:
    from tocsin.spool import Spool

LEAST_SPOOL_BYTES = 10_000_000

NAME: TypeAdapter[str] = TypeAdapter(Name)


class InteractionFields(TypedDict, total=False):
    """What `Client.publish` takes beside prompt and response; see `tocsin.Interaction`."""

    interaction_id: Identifier
    occurred_at: datetime
    application: str
    environment: str
    context: Sequence[str]
    reference: str | None
    model: Model | Mapping[str, str] | str | None
    prompt_template: PromptTemplate | Mapping[str, str] | str | None
    session_id: str | None
    subject_id: str | None
    attributes: Mapping[str, str | float]
    usage: Usage | Mapping[str, float] | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    finish_reason: str | None
    error: str | None


class Client:
    """Publishes one application's interactions, to Kafka (`bootstrap`) or to a gateway (`url`).

    Publishing costs microseconds, never waits and never raises: calls go into a bounded queue, which daemon threads
    empty. Delivery is at least once while the process lives; what cannot be kept is counted in `stats`, and the first
    of a kind is logged, never with content. What is still queued when the interpreter exits is flushed for a few
    seconds. A forked child starts with an empty queue and a connection of its own; the queue stays with the parent.

    With a `spool_directory`, messages are written there, a moment after the call, and deleted when they are delivered.
    Then they outlive an outage and the process: the next client with this directory delivers what it finds. It holds
    raw content, readable by this user alone; several processes may share it.

    Args:
        application: what is monitored; the default of every call.
        bootstrap: Kafka's bootstrap servers, `host:port`, one or several (also separated by commas).
        url: the gateway's address, such as `http://127.0.0.1:8321`.
        api_key: a key with the scope `publish`, where the gateway asks for one.
        environment: the default of every call.
        queue_size: messages kept in memory while they cannot be delivered; with more, new ones are dropped.
        spool_directory: where messages wait on disk; without one, they wait in memory only. Needs a POSIX system.
        spool_bytes: the most that may wait there, ten million at least; with more, the oldest are dropped.
        exit_timeout_seconds: how long an exit of the interpreter may wait for the queue.
        kafka_options: further settings of kafka-python's producer, such as TLS and SASL.

    Raises:
        ValueError: the arguments contradict each other or are not valid. Nothing else ever raises.
    """

    def __init__(
        self,
        application: str,
        *,
        bootstrap: str | Iterable[str] | None = None,
        url: str | None = None,
        api_key: str | None = None,
        environment: str = "production",
        queue_size: int = 10_000,
        spool_directory: str | os.PathLike[str] | None = None,
        spool_bytes: int = 256_000_000,
        exit_timeout_seconds: float = 5.0,
        kafka_options: Mapping[str, Any] | None = None,
    ) -> None:
        if queue_size < 1:
            raise ValueError("queue_size must be at least 1")
        self._defaults = {"application": NAME.validate_python(application)}
        self._defaults["environment"] = NAME.validate_python(environment)
        self._exit_timeout_seconds = exit_timeout_seconds
        open_transport = _opener(bootstrap, url, api_key, dict(kafka_options or {}))
        new_spool = _spool_maker(spool_directory, spool_bytes)
        self._new_courier = partial(Courier, open_transport, queue_size, new_spool)
        self._courier = self._new_courier()
        _clients.add(self)
        _register_fork_hook()
        atexit.register(self.close)
        self._courier.recover()

    def publish(
        self,
        prompt: str | Sequence[Turn | Mapping[str, str]] | None = None,
        response: str | None = None,
        **fields: Unpack[InteractionFields],
    ) -> str | None:
        """Queue an interaction; see `tocsin.Interaction` for the fields.

        Returns:
            The interaction's id, for `feedback`; None if it was dropped.
        """
        interaction_id = fields.get("interaction_id", new_id())
        # seconds, which validation makes a time of, later: `now` costs a service that was asleep twice what this does
        values: dict[str, Any] = {"interaction_id": interaction_id, "occurred_at": time.time(), **self._defaults}
        for name, value in fields.items():
            values[name] = _own(value)
        values["prompt"], values["response"] = _own(prompt), response
        return interaction_id if self._courier.put(partial(Interaction.model_validate, values)) else None

    def publish_interaction(self, interaction: Interaction) -> str | None:
        """Queue an interaction that was made already; otherwise like `publish`."""
        queued = self._courier.put(partial(Interaction.model_validate, interaction))
        return getattr(interaction, "interaction_id", None) if queued else None

    def feedback(
        self,
        interaction_id: str | None,
        *,
        rating: float | None = None,
        label: str | None = None,
        correction: str | None = None,
        comment: str | None = None,
        author: str | None = None,
        application: str | None = None,
    ) -> None:
        """Queue what somebody said about an interaction; each kind that is given becomes one `tocsin.Feedback`.

        An `interaction_id` of None, as `publish` returns for what it dropped, is counted as invalid.
        """
        said = {"rating": rating, "label": label, "correction": correction, "comment": comment}
        given = {kind: value for kind, value in said.items() if value is not None}
        if not given:
            self._courier.reject(ValueError())
        about = {"interaction_id": interaction_id, "application": application or self._defaults["application"]}
        for kind, value in given.items():
            values = {
                **about,
                "author": author,
                "kind": kind,
                "value": value,
                "feedback_id": new_id(),
                "given_at": now(),
            }
            self._courier.put(partial(Feedback.model_validate, values))

    @property
    def stats(self) -> Stats:
        """What became of the calls so far."""
        return self._courier.stats

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait up to `timeout` seconds until nothing is queued or spooled; whether that was reached."""
        return self._courier.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush for up to `timeout` seconds and stop; whether all was delivered or refused. Later calls are dropped.

        What is in the spool by then stays there.
        """
        atexit.unregister(self.close)
        return self._courier.close(self._exit_timeout_seconds if timeout is None else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_anew(self) -> None:
        """In a forked child: the threads are gone, locks may be held for ever, and what waits is for the parent."""
        self._courier.abandon()
        self._courier = self._new_courier()


def _own(value: Any) -> Any:
    """A copy of what the service may change after the call: lists, and dicts in them or instead of them.

    Other containers are read later, on the courier's thread: code of theirs must not run, and perhaps raise, here.
    """
    if type(value) is list:
        return [item.copy() if type(item) is dict else item for item in value]
    return value.copy() if type(value) is dict else value


def _opener(
    bootstrap: str | Iterable[str] | None, url: str | None, api_key: str | None, options: Mapping[str, Any]
) -> Callable[[], Transport]:
    """How to open the transport: later, on the courier's thread, where slow imports and connections hurt nobody."""
    if (bootstrap is None) == (url is None):
        raise ValueError("give either bootstrap (Kafka) or url (the gateway)")
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        gateway = url

        def open_http() -> Transport:
            from tocsin.transports.http import HttpTransport

            return HttpTransport(gateway, api_key)

        return open_http
    servers = bootstrap.split(",") if isinstance(bootstrap, str) else list(bootstrap or ())

    def open_kafka() -> Transport:
        from tocsin.transports.kafka import KafkaTransport

        return KafkaTransport(servers, options)

    return open_kafka


def _spool_maker(directory: str | os.PathLike[str] | None, most_bytes: int) -> Callable[[], Spool] | None:
    """How to make the spool, if there shall be one; each process needs its own."""
    if directory is None:
        return None
    if most_bytes < LEAST_SPOOL_BYTES:
        raise ValueError(f"spool_bytes must be at least {LEAST_SPOOL_BYTES}")
    try:
        from tocsin.spool import Spool
    except ImportError:
        raise ValueError("spool_directory needs the file locks of a POSIX system") from None
    return partial(Spool, Path(directory), most_bytes)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


@cache
def _register_fork_hook() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    for client in list(_clients):
        client._start_anew()
