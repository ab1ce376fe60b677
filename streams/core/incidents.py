"""Incidents: pages grouped, with a state. Each decision says why, and what has to be done.

    page ──▶ on_page ──┐
                       ├─▶ Decision(reason, incident, events, actions) ─▶ the respond stage stores and acts
    command ▶ on_command ┘

Every id follows from its cause, so deciding twice makes the same rows. The incident's row is what makes a decision
done: whoever stores it writes the rows of the actions (outbox, runs) and the events first and the incident last; after
a crash in between, the redelivered message is decided again, to the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import NAMESPACE_OID, uuid5

from streams.core.wording import RULE, account, headline
from tocsin.messages import Acknowledge, Page, Resolve

_NAMESPACE = uuid5(NAMESPACE_OID, "tocsin")


@dataclass(frozen=True, slots=True)
class Incident:
    """Pages of one application that a person deals with together; one version of its row in `incidents`."""

    incident_id: str
    application: str
    state: Literal["firing", "acknowledged", "resolved"]
    opened_at: datetime
    began_at: datetime
    updated_at: datetime
    title: str
    page_ids: tuple[str, ...]
    streams: tuple[str, ...]
    report: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an incident's timeline; a row of `incident_events`."""

    incident_id: str
    event_id: str
    happened_at: datetime
    kind: str
    actor: str
    detail: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people of this page."""

    page: Page


@dataclass(frozen=True, slots=True)
class Retrain:
    """Consider a retraining run; `retraining_decision` has the word."""

    incident_id: str


@dataclass(frozen=True, slots=True)
class Rearm:
    """Let the application's latched streams page again."""

    application: str
    incident_id: str


Action = Notify | Retrain | Rearm


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a message. Without an incident nothing does, and the reason says why."""

    reason: str
    incident: Incident | None = None
    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = ()


def concerned(incidents: Iterable[Incident], page: Page) -> Incident | None:
    """The incident that a page belongs to: the one that holds it already, else its application's unresolved one."""
    unresolved = None
    for incident in incidents:
        if page.page_id in incident.page_ids:
            return incident
        if incident.application == page.application and incident.state != "resolved":
            unresolved = incident
    return unresolved


def on_page(incident: Incident | None, page: Page) -> Decision:
    """Put a page into the incident it is `concerned` with, or open one."""
    if incident is not None and page.page_id in incident.page_ids:
        return Decision("the incident holds this page already")
    if incident is None or incident.state == "resolved" or incident.application != page.application:
        reason, changed = "opens an incident", _opened(page)
    else:
        reason, changed = f"joins the {incident.state} incident", _joined(incident, page)
    event = timeline_event(changed.incident_id, "page", page.page_id, page.occurred_at, detail=account(page))
    retrain = () if page.lane == RULE else (Retrain(changed.incident_id),)
    return Decision(reason, changed, (event,), (Notify(page), *retrain))


def on_command(incident: Incident | None, command: Acknowledge | Resolve) -> Decision:
    """Do what a person asks of the incident that the command names (None: there is no such incident)."""
    if incident is None or incident.incident_id != command.incident_id:
        return Decision("there is no such incident")
    state: Literal["acknowledged", "resolved"] = "resolved" if isinstance(command, Resolve) else "acknowledged"
    if incident.state in (state, "resolved"):
        return Decision(f"the incident is {incident.state} already")
    updated_at = max(incident.updated_at, command.given_at)
    changed = replace(incident, state=state, updated_at=updated_at, version=incident.version + 1)
    note = command.note if isinstance(command, Resolve) else ""
    event = timeline_event(incident.incident_id, state, "", command.given_at, command.actor, note)
    rearm = (Rearm(incident.application, incident.incident_id),) if state == "resolved" else ()
    return Decision(f"{state} by {command.actor}", changed, (event,), rearm)


def timeline_event(
    incident_id: str, kind: str, key: str, happened_at: datetime, actor: str = "tocsin", detail: str = ""
) -> Event:
    """A line of the timeline; equal incident, kind and key (the id of what caused it) are the same line."""
    return Event(incident_id, _id("event", incident_id, kind, key), happened_at, kind, actor, detail)


def with_report(incident: Incident, report: str) -> Incident:
    """The incident with the name of its report."""
    return replace(incident, report=report, version=incident.version + 1)


@dataclass(frozen=True, slots=True)
class RetrainingPolicy:
    """When an incident starts a run; a target of "none" never does."""

    target: str
    cooldown: timedelta


@dataclass(frozen=True, slots=True)
class LatestRun:
    """The newest run of an application; open until it succeeded or failed."""

    run_id: str
    created_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run to make."""

    run_id: str
    incident_id: str
    application: str
    target: str


@dataclass(frozen=True, slots=True)
class Skip:
    """No run, and why."""

    reason: str


def retraining_decision(
    policy: RetrainingPolicy, incident: Incident, latest: LatestRun | None, now: datetime
) -> RunPlan | Skip:
    """Whether an incident starts a run: one an incident, one open an application, and a cooldown between two.

    Args:
        policy: of the installation.
        incident: what asks.
        latest: the newest run of the incident's application.
        now: on the clock that `latest.created_at` was read from.
    """
    run_id = _id("run", incident.incident_id, policy.target)
    if policy.target == "none":
        return Skip("no retraining target is configured")
    if incident.state == "resolved":
        return Skip("the incident is resolved")
    if latest is not None and latest.run_id == run_id:
        return Skip("the incident has its run")
    if latest is not None and latest.is_open:
        return Skip(f"run {latest.run_id} of {incident.application} is still open")
    if latest is not None and now < latest.created_at + policy.cooldown:
        return Skip(f"cooldown until {latest.created_at + policy.cooldown:%Y-%m-%d %H:%M} UTC")
    return RunPlan(run_id, incident.incident_id, incident.application, policy.target)


def _opened(page: Page) -> Incident:
    return Incident(
        incident_id=_id("incident", page.page_id),
        application=page.application,
        state="firing",
        opened_at=page.occurred_at,
        began_at=page.began_at,
        updated_at=page.occurred_at,
        title=headline(page),
        page_ids=(page.page_id,),
        streams=(page.stream,),
    )


def _joined(incident: Incident, page: Page) -> Incident:
    return replace(
        incident,
        updated_at=max(incident.updated_at, page.occurred_at),
        page_ids=(*incident.page_ids, page.page_id),
        streams=incident.streams if page.stream in incident.streams else (*incident.streams, page.stream),
        version=incident.version + 1,
    )


def _id(*causes: str) -> str:
    """The id of what these causes have. Only the last cause may be free text, so the separator cannot be forged."""
    return str(uuid5(_NAMESPACE, "/".join(causes)))
