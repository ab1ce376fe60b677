"""Pages as the watch stage publishes them, and what the respond stage works with, on real engines."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sinks.clickhouse import Store
from sinks.notification import Notifier
from streams.agents.respond import Surroundings
from streams.agents.runs import RunRecords
from streams.publisher import Publisher
from streams.settings import Settings
from tocsin.contracts import now
from tocsin.messages import Effect, Page

URL = "http://127.0.0.1:1"


def page(application: str, stream: str = "prompt") -> Page:
    moment = now()
    return Page(
        page_id=str(uuid.uuid4()),
        application=application,
        stream=stream,
        lane="novelty",
        reference_id="r",
        position=10,
        interaction_id="i",
        occurred_at=moment,
        began_at=moment - timedelta(hours=1),
        units_since_beginning=5,
        evidence=1.2,
        threshold=1e-5,
        effect=Effect(quantity="share of strange units", before=0.05, now=0.4, units=20),
        configuration="c",
    )


def surroundings(
    store: Store,
    publisher: Publisher,
    urls: Sequence[str],
    settings: dict[str, Any],
    clock: Callable[[], datetime] = now,
) -> Surroundings:
    """Those of one process: a new one knows nothing of what was not stored."""
    known = Settings.model_validate(settings)
    work = asyncio.Lock(), asyncio.Event()
    return Surroundings(store, publisher, Notifier(urls), RunRecords(store), known, URL, clock, *work)
