"""The outbox: makes a message of the pages that belong together, and sends it until its target has taken it.

Everything is read from the tables, so that a restart goes on where the killed process stood.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from functools import partial

from sinks.notification import Delivered, Notification, Pauses, Untold, after_attempt, are_ripe, is_due, planned
from sinks.recovery import Recovery
from streams.agents.respond import PAGE, Surroundings, incident_of
from streams.agents.rounds import Leads, always
from streams.core.wording import notification_text
from streams.metrics import NOTIFICATIONS, OUTBOX

logger = logging.getLogger(__name__)

MOST_PAGES = 100
"""Pages that one message tells of; more have the next one. Its length stays within what a web hook takes."""


async def deliver(around: Surroundings, leads: Leads = always) -> None:
    """Write the messages that are due, and send what is; a slow target does not hold up the others.

    A store that answers and takes nothing, such as one with a full disk, must not make us repeat ourselves: what was
    planned or sent and could not be written is written first, also by a worker that no longer leads.
    """
    await asyncio.to_thread(_write, around)
    if not leads():
        OUTBOX.set(0)  # the one that leads says how many
        return
    await asyncio.to_thread(_plan, around)
    rows = await asyncio.to_thread(Recovery(around.store).pending_notifications)
    pending = [Notification(**row) for row in rows]
    OUTBOX.set(len(pending))
    retry = timedelta(seconds=around.settings.notification.retry_seconds)
    due = [row for row in pending if is_due(row, retry, around.clock()) and row.target in around.notifier.targets]
    by_target: dict[str, list[Notification]] = {}
    for row in due:
        by_target.setdefault(row.target, []).append(row)
    ended = threading.Event()
    try:
        send = partial(_send, around, go_on=lambda: leads() and not ended.is_set())
        await asyncio.gather(*(_in_daemon_thread(partial(send, rows)) for rows in by_target.values()))
    finally:
        ended.set()


def _plan(around: Surroundings) -> None:
    """Write each message before it is sent: after a kill, the same pages go out as the same message."""
    groups: dict[tuple[str, str], list[Untold]] = {}
    for row in Recovery(around.store).untold():
        untold = Untold(**row)
        groups.setdefault((untold.incident_id, untold.target), []).append(untold)
    for group in groups.values():
        if message := _message(around, group):
            around.unwritten[message.notification_id] = message
    _write(around)


def _message(around: Surroundings, group: Sequence[Untold]) -> Notification | None:
    """A message about the pages of one incident that one target is not told of; None if its time has not come."""
    recovery, now, settings = Recovery(around.store), around.clock(), around.settings.notification
    incident_id, target = group[0].incident_id, group[0].target
    row = recovery.incident(incident_id)
    if row is None:
        return None  # it is written after the outbox
    incident = incident_of(row)
    pauses = Pauses(timedelta(seconds=settings.group_seconds), timedelta(seconds=settings.follow_up_seconds))
    earlier = [Notification(**each) for each in recovery.notifications(incident_id, target)]
    if incident.state != "resolved" and not are_ripe(group, earlier, pauses, now):
        return None  # what is resolved changes no more, and is not heard of a quarter of an hour later
    chosen = group[:MOST_PAGES]
    told = sum(len(each.page_ids) for each in earlier)
    pages = [PAGE.validate_json(each.page) for each in chosen]
    title, body = notification_text(incident, pages, told, around.public_url)
    return planned(incident_id, target, [each.page_id for each in chosen], title, body, now)


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    """Like `asyncio.to_thread`, but the process need not wait for it to end: a target may hang for half a minute.

    What it was sending stays in the outbox and is sent again at the next start.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001  nothing is swallowed: it is raised where we are awaited
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="notify", daemon=True).start()
    await done


def _send(around: Surroundings, rows: Iterable[Notification], go_on: Callable[[], bool]) -> None:
    for row in rows:
        if not go_on():
            return  # whoever leads next reads that they are pending
        result = around.notifier.send(row.target, row.title, row.body, row.notification_id)
        changed = after_attempt(row, result, around.clock())
        NOTIFICATIONS.labels("delivered" if isinstance(result, Delivered) else "failed").inc()
        if not isinstance(result, Delivered):
            logger.warning("notification %s to %s failed: %s", row.notification_id, row.target, result.reason)
        around.unwritten[row.notification_id] = changed
        _write(around)


def _write(around: Surroundings) -> None:
    for name, row in list(around.unwritten.items()):
        around.store.insert("notifications", [asdict(row)])
        around.unwritten.pop(name, None)  # another target's thread may have written it too, which is harmless
