"""The whole of tocsin, composed: read this first.

    services ─▶ gateway ─▶ tocsin.interactions ─▶ SCORE ─▶ tocsin.signals ─▶ WATCH ─▶ tocsin.pages ─▶ RESPOND ─▶ people,
                                                    │                         │                         │     retraining
                                                    └──────────────────── ClickHouse ───────────────────┴─▶ web pages

`tocsin up` runs all roles in one process, `tocsin worker` and `tocsin gateway` one each; nothing but settings differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Literal

import faust

from detectors.encoder import open_encoder
from detectors.scoring import Scorer
from detectors.signals import signal_labels, signal_outputs
from sinks.notification import Notifier
from sinks.retraining import Options, build_target
from streams.agents.chores import Reports, do_chores
from streams.agents.respond import Surroundings, respond_handlers
from streams.agents.runs import RunRecords, Runs
from streams.agents.score import FeedbackStage, ScoreStage
from streams.agents.watch import WatchStage
from streams.core.budget import Budget
from streams.core.rules import Rules
from streams.core.units import VECTOR_STREAMS
from streams.engines import Engines
from streams.publisher import Publisher
from streams.secret import installation_secret
from streams.settings import ConfigurationError, Settings
from streams.worker import Handler, create_worker
from tocsin.contracts import now
from tocsin.messages import FEEDBACK, INTERACTIONS, SIGNALS

logger = logging.getLogger(__name__)

Role = Literal["score", "watch", "respond"]
ROLES: tuple[Role, ...] = ("score", "watch", "respond")


async def run_workers(
    settings: Settings, engines: Engines, roles: Collection[Role], public_url: str, stack: AsyncExitStack
) -> list[asyncio.Task[None]]:
    """Start the stages of these roles; they stop when the stack is unwound.

    Returns:
        Tasks that never end by themselves: one that does has failed, and the process should stop.
    """
    publisher = await stack.enter_async_context(Publisher(engines.bootstrap))
    workers: list[faust.App] = []
    tasks: list[asyncio.Task[None]] = []
    if "score" in roles:
        workers.append(await asyncio.to_thread(score_worker, settings, engines, publisher))
    if "watch" in roles:
        workers.append(watch_worker(settings, engines, publisher))
    if "respond" in roles:
        around = surroundings(settings, engines, publisher, public_url)
        workers.append(respond_worker(settings, engines, around))
        tasks.append(asyncio.create_task(respond_chores(settings, around), name="chores"))
        stack.callback(tasks[-1].cancel)
    for worker in workers:
        await worker.start()
        stack.push_async_callback(worker.stop)
        tasks.append(asyncio.create_task(_until_stopped(worker), name=worker.conf.id))
        stack.callback(tasks[-1].cancel)
    return tasks


def score_worker(settings: Settings, engines: Engines, publisher: Publisher) -> faust.App:
    """SCORE: interactions and feedback to rows and signals."""
    scorer = Scorer(open_encoder(settings.scoring.backend, cache=settings.cache))
    handlers: dict[str, Handler] = {
        INTERACTIONS: ScoreStage(engines.store, publisher, scorer, settings, now),
        FEEDBACK: FeedbackStage(engines.store, settings, now),
    }
    batch = settings.scoring.batch
    return create_worker("tocsin-score", handlers, settings, engines.bootstrap, batch=batch, within=0.2)


def watch_worker(settings: Settings, engines: Engines, publisher: Publisher) -> faust.App:
    """WATCH: signals to evidence and pages."""
    stage = WatchStage(engines.store, publisher, rules_of(settings), settings)
    return create_worker("tocsin-watch", {SIGNALS: stage}, settings, engines.bootstrap, batch=2_000, within=0.5)


def respond_worker(settings: Settings, engines: Engines, around: Surroundings) -> faust.App:
    """RESPOND: pages and commands to incidents, notifications and retraining runs."""
    return create_worker("tocsin-respond", respond_handlers(around), settings, engines.bootstrap, batch=100, within=0.2)


def surroundings(settings: Settings, engines: Engines, publisher: Publisher, public_url: str) -> Surroundings:
    """What the respond stage works with."""
    return Surroundings(
        store=engines.store,
        publisher=publisher,
        notifier=Notifier([url.get_secret_value() for url in settings.notification.urls]),
        runs=RunRecords(engines.store),
        settings=settings,
        public_url=settings.public_url or public_url,
        clock=now,
        writing=asyncio.Lock(),
        work=asyncio.Event(),
    )


async def respond_chores(settings: Settings, around: Surroundings) -> None:
    """The outbox, the runs and the reports."""
    retraining, runs = settings.retraining, None
    if retraining.target != "none":
        secret = installation_secret(settings)
        directory = (settings.data_directory / "runs").absolute()
        options = Options(directory, tuple(retraining.command), retraining.webhook_url, secret)
        target, limit = build_target(retraining.target, options), timedelta(hours=retraining.timeout_hours)
        runs = Runs(around.store, around.runs, target, secret, directory, around.public_url, limit, now)
    await do_chores(around, runs, Reports(around, settings.data_directory / "reports"))


def rules_of(settings: Settings) -> Rules:
    """What the detectors need of the settings; signals are watched on the side on which they are worse.

    Raises:
        ConfigurationError: a least effect names a stream, or a segment a field, that there is not.
    """
    sides: dict[bool | None, Literal["up", "down", "both"]] = {True: "up", False: "down", None: "both"}
    rules = Rules(
        reference_units=settings.watch.reference_units,
        watched={name: sides[output.higher_is_worse] for name, output in signal_outputs().items()},
        budget=Budget(
            settings.budget.pages_per_30_days, {name: each.weight for name, each in settings.applications.items()}
        ),
        configuration=settings.fingerprint,
        segments=tuple(settings.watch.segments),
        most_segments=settings.watch.most_segments,
        segment_share=settings.watch.segment_share,
        least_effect=settings.watch.least_effect,
        least_effects=settings.watch.least_effects,
    )
    if unknown := sorted(settings.watch.least_effects.keys() - {*VECTOR_STREAMS, *rules.tails}):
        raise ConfigurationError(f"watch.least_effects: there is no stream {unknown[0]!r}")
    fields = {*signal_labels(), "template", "model"}
    if unknown := [name for name in rules.segments if name not in fields and not name.startswith("attribute ")]:
        known = ", ".join(sorted(fields))
        raise ConfigurationError(f"watch.segments: {unknown[0]!r} is none of {known}, attribute NAME, attribute *")
    return rules


async def _until_stopped(worker: faust.App) -> None:
    await worker.wait_until_stopped()
    if worker.crash_reason is not None:
        raise worker.crash_reason
