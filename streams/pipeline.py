"""The whole of tocsin, composed: read this first.

    services ─▶ gateway ─▶ tocsin.interactions ─▶ SCORE ─▶ tocsin.signals ─▶ WATCH ─▶ tocsin.pages ─▶ RESPOND ─▶ people,
                                                    │                         │                         │     retraining
                                                    └──────────────────── ClickHouse ───────────────────┴─▶ web pages

`tocsin up` runs all roles in one process, `tocsin worker` and `tocsin gateway` one each; nothing but settings differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from aiokafka.errors import KafkaConnectionError

from sinks.notification import Notifier
from sinks.retraining import Options, build_target
from streams.agents.chores import Reports, do_chores
from streams.agents.estimating import Estimating
from streams.agents.judging import open_judging
from streams.agents.respond import Surroundings, respond_handlers
from streams.agents.rounds import Lead, Leads, go_round
from streams.agents.runs import RunRecords, Runs
from streams.agents.score import FeedbackStage, ScoreStage
from streams.agents.swapping import Swapping
from streams.agents.watch import WatchStage
from streams.comparing import drift_budget, fairness_rules
from streams.core.rules import Rules
from streams.core.units import VECTOR_STREAMS
from streams.engines import Engines
from streams.publisher import Publisher
from streams.scorers.chosen import chosen_signals
from streams.scoring import Scoring, open_scoring
from streams.secret import installation_secret
from streams.settings import ConfigurationError, Settings
from streams.topics import BrokerMissing
from streams.watchdog import Watchdog
from streams.worker import Handler, Worker, create_worker
from tocsin.contracts import now
from tocsin.messages import FEEDBACK, INTERACTIONS, SIGNALS

logger = logging.getLogger(__name__)

Role = Literal["score", "watch", "respond"]
Work = Callable[[], Coroutine[Any, Any, None]]
"""Goes on until it is cancelled."""

ROLES: tuple[Role, ...] = ("score", "watch", "respond")


async def run_workers(
    settings: Settings,
    engines: Engines,
    roles: Collection[Role],
    public_url: str,
    stack: AsyncExitStack,
    *,
    scorer: Callable[[Settings], Scoring] = open_scoring,
    clock: Callable[[], datetime] = now,
) -> list[asyncio.Task[None]]:
    """Start the stages of these roles; they stop when the stack is unwound.

    Args:
        settings: the effective settings.
        engines: the broker and the store.
        roles: the stages.
        public_url: address of the pages, for links.
        stack: what ends them.
        scorer: opens the scorer; blocks.
        clock: the time.

    Raises:
        BrokerMissing: the broker went away meanwhile.

    Returns:
        Tasks that never end by themselves: one that does has failed, and the process should stop.
    """
    publisher = await stack.enter_async_context(Publisher(engines.bootstrap))
    workers: list[Worker] = []
    tasks: list[asyncio.Task[None]] = []
    beside: dict[str, Work] = {}
    if "score" in roles:
        opened = await asyncio.to_thread(scorer, settings)
        workers.append(score_worker(settings, engines, publisher, opened, clock))
        if per_hour := settings.fairness.swaps_per_hour:
            swapping = Swapping(engines.store, opened, settings.fairness.signals, per_hour, clock)

            async def swap() -> None:
                await asyncio.to_thread(swapping.advance)

            beside["swaps"] = partial(go_round, "swaps", swap, swapping.every_seconds)
    if "watch" in roles:
        workers.append(watch_worker(settings, engines, publisher))
    if "respond" in roles:
        around = surroundings(settings, engines, publisher, public_url, clock)
        workers.append(respond_worker(settings, engines, around))
        beside |= respond_chores(settings, around, Lead(workers[-1].owns))
    for worker in workers:
        try:
            await worker.start()
        except KafkaConnectionError:
            raise BrokerMissing(engines.bootstrap) from None
        stack.push_async_callback(worker.stop)
        stack.enter_context(Watchdog(worker, engines.bootstrap, settings.worker.stuck_seconds))
        tasks.append(asyncio.create_task(_until_stopped(worker), name=worker.conf.id))
        stack.callback(tasks[-1].cancel)
    for name, work in beside.items():  # after the workers, which say who leads, and ended before them
        tasks.append(asyncio.create_task(work(), name=name))
        stack.callback(tasks[-1].cancel)
    return tasks


def score_worker(
    settings: Settings, engines: Engines, publisher: Publisher, scorer: Scoring, clock: Callable[[], datetime]
) -> Worker:
    """SCORE: interactions and feedback to rows and signals."""
    handlers: dict[str, Handler] = {
        INTERACTIONS: ScoreStage(engines.store, publisher, scorer, settings, clock),
        FEEDBACK: FeedbackStage(engines.store, settings, clock),
    }
    batch = settings.scoring.batch
    return create_worker("tocsin-score", handlers, settings, engines.bootstrap, batch=batch, within=0.2)


def watch_worker(settings: Settings, engines: Engines, publisher: Publisher) -> Worker:
    """WATCH: signals to evidence and pages."""
    stage = WatchStage(engines.store, publisher, rules_of(settings), settings)
    return create_worker("tocsin-watch", {SIGNALS: stage}, settings, engines.bootstrap, batch=2_000, within=0.5)


def respond_worker(settings: Settings, engines: Engines, around: Surroundings) -> Worker:
    """RESPOND: pages and commands to incidents, notifications and retraining runs."""
    return create_worker("tocsin-respond", respond_handlers(around), settings, engines.bootstrap, batch=100, within=0.2)


def surroundings(
    settings: Settings, engines: Engines, publisher: Publisher, public_url: str, clock: Callable[[], datetime]
) -> Surroundings:
    """What the respond stage works with."""
    return Surroundings(
        store=engines.store,
        publisher=publisher,
        notifier=Notifier([url.get_secret_value() for url in settings.notification.urls]),
        runs=RunRecords(engines.store),
        settings=settings,
        public_url=settings.public_url or public_url,
        clock=clock,
        writing=asyncio.Lock(),
        work=asyncio.Event(),
    )


def respond_chores(settings: Settings, around: Surroundings, leads: Leads) -> dict[str, Work]:
    """What respond does beside its topics: the outbox, the runs and the reports, estimates, and the judge."""
    retraining, runs = settings.retraining, None
    if retraining.target != "none":
        secret = installation_secret(settings)
        directory = (settings.data_directory / "runs").absolute()
        options = Options(directory, tuple(retraining.command), retraining.webhook_url, secret)
        target, limit = build_target(retraining.target, options), timedelta(hours=retraining.timeout_hours)
        runs = Runs(around.store, around.runs, target, secret, directory, around.public_url, limit, around.clock)
    reports = Reports(around, settings.data_directory / "reports")
    estimating = Estimating(around.store, around.clock)
    estimates = partial(asyncio.to_thread, estimating.advance)
    chores: dict[str, Work] = {
        "chores": partial(do_chores, around, runs, reports, leads),
        "estimates": partial(go_round, "estimates", estimates, estimating.every_seconds, leads=leads),
    }
    if settings.judge.url:
        judging = open_judging(settings.judge, around)
        chores["judge"] = partial(
            go_round, "verdicts", partial(judging.advance, leads), judging.every_seconds, leads=leads
        )
    return chores


def rules_of(settings: Settings) -> Rules:
    """What the detectors need of the settings; signals are watched on the side on which they are worse.

    Raises:
        ConfigurationError: a least effect names a stream, or a segment a field, that there is not.
    """
    sides: dict[bool | None, Literal["up", "down", "both"]] = {True: "up", False: "down", None: "both"}
    signals, chosen = chosen_signals(settings), settings.watch.signals
    outputs = signals.outputs()
    if unknown := sorted(chosen.keys() - outputs.keys()):
        raise ConfigurationError(f"watch.signals: there is no signal {unknown[0]!r}")
    rules = Rules(
        reference_units=settings.watch.reference_units,
        watched={
            name: sides[output.higher_is_worse] for name, output in outputs.items() if chosen.get(name, output.watched)
        },
        budget=drift_budget(settings),
        configuration=settings.fingerprint,
        segments=tuple(settings.watch.segments),
        most_segments=settings.watch.most_segments,
        segment_share=settings.watch.segment_share,
        least_effect=settings.watch.least_effect,
        least_effects=settings.watch.least_effects,
        fairness=fairness_rules(settings, signals),
    )
    if unknown := sorted(settings.watch.least_effects.keys() - {*VECTOR_STREAMS, *rules.tails}):
        raise ConfigurationError(f"watch.least_effects: there is no stream {unknown[0]!r}")
    fields = {*signals.labels(), "template", "model"}
    if unknown := [name for name in rules.segments if name not in fields and not name.startswith("attribute ")]:
        known = ", ".join(sorted(fields))
        raise ConfigurationError(f"watch.segments: {unknown[0]!r} is none of {known}, attribute NAME, attribute *")
    return rules


async def _until_stopped(worker: Worker) -> None:
    await worker.wait_until_stopped()
    if worker.crash_reason is not None:
        raise worker.crash_reason
