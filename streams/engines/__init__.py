"""The engines under the workers: Kafka and ClickHouse, ours or somebody's, by settings alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sinks.clickhouse import Store, StoreUnavailable
from streams.engines.broker import BrokerError, EmbeddedBroker
from streams.ownership import DirectoryInUse, EngineError, owned
from streams.settings import ClickHouse, Settings
from streams.topics import BrokerMissing, ensure_topics

__all__ = ["BrokerError", "DirectoryInUse", "EmbeddedBroker", "EngineError", "Engines", "open_engines"]

PATIENT_SECONDS, USUAL_SECONDS = 3.0, 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engines:
    """What is open: the broker's address, as host:port separated by commas, and the store, migrated."""

    bootstrap: str
    store: Store


def _server(clickhouse: ClickHouse) -> Store:
    return Store.server(
        clickhouse.host,
        clickhouse.port,
        clickhouse.user,
        clickhouse.password.get_secret_value(),
        clickhouse.secure,
        clickhouse.database,
        clickhouse.cluster,
    )


@contextmanager
def open_engines(settings: Settings, *, patient: bool = False) -> Iterator[Engines]:
    """Start or reach the broker and the store, and have topics and tables ready.

    What is embedded owns the data directory and is stopped at the end of the block: open what uses it inside.

    Args:
        settings: the effective settings.
        patient: open also while a broker or a store of others is away, without topics or tables: the gateway, which has
            a spool, makes topics before it publishes, and the workers bring the tables.

    Raises:
        DirectoryInUse: another process owns the data directory.
        EngineError: an embedded engine cannot start.
        TopicError: no broker, or its topics do not fit the settings.
        StoreError: no store, or its schema does not fit the program.
    """
    with ExitStack() as stack:
        broker = settings.broker
        if not (broker.bootstrap and settings.clickhouse.host):
            stack.enter_context(owned(settings.data_directory))
        if not broker.bootstrap:
            # before the store: a process that has chDB open must not be forked
            embedded = EmbeddedBroker(settings.data_directory / "broker", broker.embedded_port)
            broker = broker.model_copy(update={"bootstrap": stack.enter_context(embedded).bootstrap})
        away = (BrokerMissing, StoreUnavailable) if patient else ()
        seconds = PATIENT_SECONDS if patient else USUAL_SECONDS
        try:
            ensure_topics(broker, seconds, settings.limits.message_bytes)
        except away as error:
            log.warning("%s; going on without it", error)
        if settings.clickhouse.host:
            store = _server(settings.clickhouse)
        else:
            store = Store.embedded(settings.data_directory / "clickhouse", settings.clickhouse.database)
        stack.callback(store.close)
        try:
            store.migrate()
        except away as error:
            log.warning("%s; going on without it", error)
        yield Engines(broker.bootstrap, store)
