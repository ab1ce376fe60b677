"""RESPOND: pages and commands in; incidents, notifications and retraining runs out. It alone writes incidents.

Every row has an id that follows from its cause. The rows of what is to be done (the outbox, the runs) and the timeline
are written first, the incident last: a batch that comes again after a crash decides the same and writes the same rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, TypeAdapter

from sinks.clickhouse import Store
from sinks.notification import Notification, Notifier, Untold
from sinks.recovery import Recovery
from sinks.rows import dead_letter_row
from streams.agents.ledger import Fate, Ledger
from streams.agents.runs import OPEN_STATES, RunRecords
from streams.core.decoding import Accepted, DeadLetter, bounds_of, decode
from streams.core.incidents import (
    Decision,
    Event,
    Incident,
    LatestRun,
    Notify,
    Rearm,
    Retrain,
    RetrainingPolicy,
    Skip,
    concerned,
    on_command,
    on_page,
    retraining_decision,
    timeline_event,
)
from streams.metrics import DEAD_LETTERS
from streams.publisher import Publisher
from streams.settings import Settings
from streams.worker import Handler, Record
from tocsin import messages
from tocsin.messages import (
    COMMAND,
    COMMANDS,
    PAGES,
    SIGNALS,
    Acknowledge,
    Command,
    Page,
    PromoteReference,
    ProposeReference,
    Resolve,
    RunStatus,
    Source,
)

PAGE: TypeAdapter[Page] = TypeAdapter(Page)


@dataclass(frozen=True)
class Surroundings:
    """What the respond stage works with.

    Attributes:
        store: where its tables are.
        publisher: of the answers to the watch stage.
        notifier: the people.
        runs: the retraining runs.
        settings: of the installation.
        public_url: address of the pages, for links.
        clock: the time.
        writing: held while an incident is read and written, since two agents and the chores do so.
        work: set when there is something to send or to start.
        unwritten: messages that were planned or tried, as they are to be stored, by id.
    """

    store: Store
    publisher: Publisher
    notifier: Notifier
    runs: RunRecords
    settings: Settings
    public_url: str
    clock: Callable[[], datetime]
    writing: asyncio.Lock
    work: asyncio.Event
    unwritten: dict[str, Notification] = field(default_factory=dict)


class PageStage:
    """The handler of `tocsin.pages`."""

    def __init__(self, around: Surroundings) -> None:
        self._around, self._recovery = around, Recovery(around.store)
        self._policy = RetrainingPolicy(
            around.settings.retraining.target, timedelta(hours=around.settings.retraining.cooldown_hours)
        )

    async def __call__(self, page: Page, source: Source) -> None:
        """Put one page into its incident, and plan what follows."""
        async with self._around.writing:
            await asyncio.to_thread(self._decide, page)
        self._around.work.set()

    def _decide(self, page: Page) -> None:
        found = [incident_of(row) for row in self._recovery.incidents_for(page.application, page.page_id)]
        decision = on_page(concerned(found, page), page)
        if decision.incident is None:
            return
        for action in decision.actions:
            if isinstance(action, Notify):
                self._put_into_outbox(decision.incident.incident_id, page)
            elif isinstance(action, Retrain):
                self._plan_run(decision.incident)
        write_incident(self._around.store, decision.incident, decision.events)

    def _put_into_outbox(self, incident_id: str, page: Page) -> None:
        now, text = self._around.clock(), page.model_dump_json()
        rows = [Untold(target, page.page_id, incident_id, text, now) for target in self._around.notifier.targets]
        self._around.store.insert("outbox", [asdict(row) for row in rows])

    def _plan_run(self, incident: Incident) -> None:
        now = self._around.clock()
        latest = self._recovery.latest_run(incident.application)
        known = latest and LatestRun(latest["run_id"], latest["created_at"], latest["state"] in OPEN_STATES)
        plan = retraining_decision(self._policy, incident, known or None, now)
        if isinstance(plan, Skip):
            return
        detail = f"run {plan.run_id}"
        event = timeline_event(incident.incident_id, "retraining planned", plan.run_id, now, detail=detail)
        # the run last: once there is one, a page that comes again plans none
        self._around.store.insert("incident_events", [asdict(event)])
        self._around.runs.plan(plan.run_id, incident, plan.target, now)


class CommandStage:
    """The handler of `tocsin.commands`."""

    def __init__(self, around: Surroundings) -> None:
        self._around, self._recovery = around, Recovery(around.store)

    async def __call__(self, command: Command, source: Source) -> None:
        """Do what one command says."""
        match command:
            case Acknowledge() | Resolve():
                await self._incident(command, source)
            case RunStatus():
                await self._run(command, source)
            case ProposeReference():
                await self._propose(command, source)
            case PromoteReference():
                await self._promote(command, source)

    async def _incident(self, command: Acknowledge | Resolve, source: Source) -> None:
        async with self._around.writing:
            decision = await asyncio.to_thread(self._decide, command)
            # published before the incident is written: after a crash the command decides the same again
            for action in decision.actions:
                if isinstance(action, Rearm):
                    rearm = messages.Rearm(
                        source=source, application=action.application, incident_id=action.incident_id
                    )
                    await self._around.publisher.publish(SIGNALS, [(action.application, rearm)])
            if decision.incident:
                events = list(decision.events)
                await asyncio.to_thread(write_incident, self._around.store, decision.incident, events)

    def _decide(self, command: Acknowledge | Resolve) -> Decision:
        row = self._recovery.incident(command.incident_id)
        return on_command(incident_of(row) if row else None, command)

    async def _run(self, status: RunStatus, source: Source) -> None:
        run = await asyncio.to_thread(self._recovery.run, status.run_id)
        if run is None or run["state"] not in OPEN_STATES:
            return  # unknown, or ended: a report that comes twice proposes nothing twice
        if status.state == "succeeded":
            proposal = messages.Propose(
                source=source,
                application=run["application"],
                run_id=status.run_id,
                model_version=status.model_version,
            )
            await self._around.publisher.publish(SIGNALS, [(run["application"], proposal)])
        await asyncio.to_thread(self._around.runs.report, status)

    async def _propose(self, command: ProposeReference, source: Source) -> None:
        if not await asyncio.to_thread(self._recovery.references_in_force, command.application):
            return  # no such application, or its first reference is being learned anyway
        run_id = f"{messages.ACCEPTED}{source.offset}"
        proposal = messages.Propose(source=source, application=command.application, run_id=run_id)
        await self._around.publisher.publish(SIGNALS, [(command.application, proposal)])

    async def _promote(self, command: PromoteReference, source: Source) -> None:
        row = await asyncio.to_thread(self._recovery.reference_row, command.reference_id)
        if row is None or row["application"] != command.application or row["status"] != "proposed":
            return
        if row["segment"]:
            return  # it comes into force together with that of the whole application
        promotion = messages.Promote(source=source, application=command.application, reference_id=command.reference_id)
        await self._around.publisher.publish(SIGNALS, [(command.application, promotion)])
        # what else was proposed, too: it is of traffic before this
        former = await asyncio.to_thread(
            self._recovery.references_before, command.application, "", command.reference_id
        )
        changed = [
            {**each, "status": status, "version": each["version"] + 1}
            for each, status in [(row, "current"), *((each, "superseded") for each in former)]
        ]
        await asyncio.to_thread(self._around.store.insert, "references", changed)


def one_by_one(
    topic: str, adapter: TypeAdapter[Any], handle: Callable[[Any, Source], Any], around: Surroundings
) -> Handler:
    """A batch handler that decodes each record, hands it on, and keeps the ledger."""
    ledger, bounds = Ledger(topic, around.store), bounds_of(around.settings.limits)

    async def take(records: list[Record]) -> None:
        fates: list[tuple[Record, Fate]] = []
        for record in records:
            result: Accepted[BaseModel] | DeadLetter = decode(record.value, adapter, bounds)
            if isinstance(result, DeadLetter):
                DEAD_LETTERS.labels(topic, result.reason).inc()
                days = around.settings.limits.dead_letter_days
                row = dead_letter_row(record.source, record.at, result.reason, result.detail, record.value, days)
                await asyncio.to_thread(around.store.insert, "dead_letters", [row])
            else:
                await handle(result.value, record.source)
            fates.append((record, "dead_lettered" if isinstance(result, DeadLetter) else "stored"))
        await asyncio.to_thread(ledger.close, fates)

    return take


def respond_handlers(around: Surroundings) -> dict[str, Handler]:
    """The handlers of both topics."""
    return {
        PAGES: one_by_one(PAGES, PAGE, PageStage(around), around),
        COMMANDS: one_by_one(COMMANDS, COMMAND, CommandStage(around), around),
    }


def incident_of(row: dict[str, Any]) -> Incident:
    """An incident out of its row."""
    return Incident(**{**row, "page_ids": tuple(row["page_ids"]), "streams": tuple(row["streams"])})


def write_incident(store: Store, incident: Incident, events: Sequence[Event]) -> None:
    """Write the timeline, then the incident."""
    if events:
        store.insert("incident_events", [asdict(event) for event in events])
    row = asdict(incident)
    store.insert("incidents", [{**row, "page_ids": list(incident.page_ids), "streams": list(incident.streams)}])
