"""From the outbox to people, with a real store and a real receiver: grouped, never lost, repeated once for a kill."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from sinks.clickhouse import Store, StoreUnavailable
from sinks.notification import Notifier
from streams.agents.delivery import deliver
from streams.agents.respond import Surroundings, respond_handlers
from streams.publisher import Publisher
from streams.worker import Record
from tests.receiver import Receiver
from tests.streams.agents.conftest import Topic
from tests.streams.agents.cut import Cut, CutStore, Killed
from tests.streams.agents.paging import page, surroundings
from tocsin.messages import COMMANDS, PAGES, Page, Resolve

GROUP, FOLLOW_UP = 10, 900
NO_CUT = Cut()


class Room:
    """The respond stage, killed and started again, on a clock that stands still until it is told the time."""

    def __init__(self, store: Store, publisher: Publisher, urls: Sequence[str]) -> None:
        self.store, self._publisher, self._urls = store, publisher, urls
        self.second, self.kills = 0.0, 0
        self._topic, self._commands = Topic(PAGES), Topic(COMMANDS)
        self._unacknowledged: list[Record] = []
        self._start()

    def _start(self) -> None:
        """A new process: it knows nothing that was not stored."""
        pauses = {"retry_seconds": 1, "group_seconds": GROUP, "follow_up_seconds": FOLLOW_UP}
        self.around = surroundings(self.store, self._publisher, self._urls, {"notification": pauses}, self._now)

    def _now(self) -> datetime:
        return datetime(2025, 3, 1, tzinfo=UTC) + timedelta(seconds=self.second)

    async def _work(self, work: Callable[[Surroundings], Awaitable[None]], cut: Cut) -> None:
        try:
            await work(replace(self.around, store=cast(Store, CutStore(self.store, cut))))
        except Killed:
            self.kills += 1
            self._start()

    async def take(self, *pages: Page, cut: Cut = NO_CUT) -> None:
        """Take pages in; what a kill left unacknowledged comes again with the next ones."""
        self._unacknowledged += [self._topic.record(each) for each in pages]

        async def handle(around: Surroundings) -> None:
            await respond_handlers(around)[PAGES](list(self._unacknowledged))
            self._unacknowledged.clear()

        await self._work(handle, cut)

    async def deliver(self, second: float | None = None, cut: Cut = NO_CUT) -> None:
        """Deliver what is due at a second."""
        self.second = self.second if second is None else second
        await self._work(deliver, cut)

    async def resolve(self) -> None:
        """A person resolves every incident."""
        for row in self.store.query("SELECT incident_id FROM incidents FINAL WHERE state != 'resolved'"):
            command = Resolve(incident_id=row["incident_id"], actor="ann", given_at=self._now())
            await respond_handlers(self.around)[COMMANDS]([self._commands.record(command)])


def live(
    store: Store, bootstrap: str, urls: Sequence[str], steps: Callable[[Room], Awaitable[None]]
) -> list[dict[str, Any]]:
    """Let the stage live through the steps; the messages that it planned."""

    async def run() -> None:
        async with Publisher(bootstrap) as publisher:
            await steps(Room(store, publisher, urls))

    asyncio.run(run())
    return store.query("SELECT * FROM notifications FINAL ORDER BY created_at, target")


def test_pages_of_one_change_are_one_message(store: Store, bootstrap: str) -> None:
    pages = [page("shop", stream) for stream in ("prompt", "response", "refusal", "relevance")]

    async def steps(room: Room) -> None:
        await room.take(pages[0])
        await room.deliver(GROUP / 2)
        await room.take(*pages[1:])
        await room.deliver(GROUP - 1)
        assert not receiver.arrived
        await room.deliver(GROUP)
        await room.deliver(9 * FOLLOW_UP)

    with Receiver() as receiver:
        [sent] = live(store, bootstrap, [receiver.url], steps)
    assert receiver.ids == {sent["notification_id"]: 1}
    assert receiver.told == Counter(each.page_id for each in pages)
    assert sent["state"] == "sent"
    assert sent["title"].endswith(", and 3 more changes")


def test_pages_that_join_later_are_told_together_a_quarter_of_an_hour_later(store: Store, bootstrap: str) -> None:
    async def steps(room: Room) -> None:
        await room.take(page("shop"))
        await room.deliver(GROUP)
        for second in (60, 300, 600):
            room.second = second
            await room.take(page("shop", f"s{second}"))
            await room.deliver()
        await room.deliver(GROUP + FOLLOW_UP - 1)
        assert len(receiver.arrived) == 1
        await room.deliver(GROUP + FOLLOW_UP)

    with Receiver() as receiver:
        _, followed = live(store, bootstrap, [receiver.url], steps)
    assert [len(pages) for _, pages in receiver.arrived] == [1, 3]
    assert f"3 more changes in incident {followed['incident_id'][:8]}" in followed["title"]
    assert "1 change told before" in followed["body"]


def test_what_waits_when_an_incident_is_resolved_is_told_at_once(store: Store, bootstrap: str) -> None:
    async def steps(room: Room) -> None:
        await room.take(page("shop"))
        await room.deliver(GROUP)
        await room.take(page("shop", "response"))
        await room.resolve()
        await room.deliver(GROUP + 1)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert [len(pages) for _, pages in receiver.arrived] == [1, 1]


def test_what_a_target_has_not_taken_yet_is_not_told_again_when_the_incident_is_resolved(
    store: Store, bootstrap: str
) -> None:
    async def steps(room: Room) -> None:
        receiver.away = True
        await room.take(page("shop"))
        await room.deliver(GROUP)
        await room.take(page("shop", "response"))
        await room.resolve()
        await room.deliver(GROUP + 2)
        receiver.away = False
        await room.deliver(GROUP + 4)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert [len(pages) for _, pages in receiver.arrived] == [1, 1]
    assert set(receiver.told.values()) == {1}


def test_each_application_and_each_target_has_messages_of_its_own(store: Store, bootstrap: str) -> None:
    pages = [page("shop"), page("search"), page("shop", "response")]

    async def steps(room: Room) -> None:
        await room.take(*pages)
        await room.deliver(GROUP)

    with Receiver() as one, Receiver() as other:
        assert len(live(store, bootstrap, [one.url, other.url], steps)) == 4
    for receiver in (one, other):
        assert receiver.told == Counter(each.page_id for each in pages)
        assert sorted(len(told) for _, told in receiver.arrived) == [1, 2]
    assert not one.ids.keys() & other.ids.keys()


def test_a_target_that_was_away_gets_one_message_more_and_not_one_for_each_pause(store: Store, bootstrap: str) -> None:
    async def steps(room: Room) -> None:
        receiver.away = True
        for number in range(6):
            await room.take(page("shop", f"s{number}"))
            await room.deliver(GROUP + number * 2 * FOLLOW_UP)
        receiver.away = False
        await room.deliver(room.second + 2)
        await room.deliver(room.second + 2 * FOLLOW_UP)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert [len(pages) for _, pages in receiver.arrived] == [1, 5]


def test_a_target_that_is_away_holds_up_no_other(store: Store, bootstrap: str) -> None:
    async def steps(room: Room) -> None:
        away.away = True
        for number in range(3):
            await room.take(page("shop", f"s{number}"))
            await room.deliver(GROUP + number * 2 * FOLLOW_UP)
        assert len(there.arrived) == 3
        away.away = False
        await room.deliver(room.second + 2)
        await room.deliver(room.second + FOLLOW_UP)

    with Receiver() as away, Receiver() as there:
        live(store, bootstrap, [away.url, there.url], steps)
    assert [len(pages) for _, pages in away.arrived] == [1, 2]
    assert away.told == there.told


def test_a_message_tells_of_so_many_pages_and_the_next_one_of_the_others(
    store: Store, bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.agents.delivery.MOST_PAGES", 3)

    async def steps(room: Room) -> None:
        await room.take(*[page("shop", f"s{number}") for number in range(4)])
        await room.deliver(GROUP)
        await room.deliver(GROUP + FOLLOW_UP)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert [len(pages) for _, pages in receiver.arrived] == [3, 1]


def test_a_message_that_a_former_version_planned_is_sent_as_it_was(store: Store, bootstrap: str) -> None:
    async def steps(room: Room) -> None:
        target = Notifier([receiver.url]).targets[0]
        row = {"notification_id": "n1", "page_id": "p1", "incident_id": "i1", "target": target, "state": "pending"}
        store.insert("notifications", [row | {"title": "it moved", "body": "page: p1", "version": 1}])
        await room.deliver()

    with Receiver() as receiver:
        [sent] = live(store, bootstrap, [receiver.url], steps)
    assert receiver.arrived == [("n1", ("p1",))]
    assert (sent["state"], sent["page_ids"]) == ("sent", ["p1"])


def test_a_clock_that_was_wrong_holds_nothing_up(store: Store, bootstrap: str) -> None:
    async def steps(room: Room) -> None:
        room.second = 86_400
        await room.take(page("shop"))
        await room.deliver(0)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert len(receiver.arrived) == 1


@pytest.mark.parametrize("share", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("table", ["outbox", "incident_events", "incidents", "ledger"])
def test_a_kill_while_a_page_is_taken_in_loses_and_repeats_nothing(
    store: Store, bootstrap: str, table: str, share: float
) -> None:
    cried = page("shop")

    async def steps(room: Room) -> None:
        await room.take(cried, cut=Cut(table, share))
        assert room.kills == 1
        await room.deliver(GROUP)
        await room.take()
        await room.deliver(2 * GROUP)
        await room.deliver(9 * FOLLOW_UP)

    with Receiver() as receiver:
        [sent] = live(store, bootstrap, [receiver.url], steps)
    assert [pages for _, pages in receiver.arrived] == [(cried.page_id,)]
    assert [sent["incident_id"]] == [row["incident_id"] for row in store.query("SELECT * FROM incidents FINAL")]


@pytest.mark.parametrize(("share", "together"), [(0, 2), (1, 1)], ids=["before", "after"])
def test_a_kill_while_a_message_is_planned_sends_it_once_and_as_it_was_if_it_was_stored(
    store: Store, bootstrap: str, share: float, together: int
) -> None:
    async def steps(room: Room) -> None:
        await room.take(page("shop"))
        await room.deliver(GROUP, Cut("notifications", share))
        assert room.kills == 1
        assert not receiver.arrived
        await room.take(page("shop", "response"))
        await room.deliver()
        await room.deliver(9 * FOLLOW_UP)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert [len(pages) for _, pages in receiver.arrived] == [together] + [1] * (2 - together)
    assert set(receiver.told.values()) == {1}


@pytest.mark.parametrize(("share", "copies"), [(0, 2), (1, 1)], ids=["before", "after"])
def test_a_kill_while_a_message_is_marked_repeats_it_at_most_once_with_the_same_id_and_pages(
    store: Store, bootstrap: str, share: float, copies: int
) -> None:
    async def steps(room: Room) -> None:
        await room.take(page("shop"))
        await room.deliver(GROUP, Cut("notifications", share=1))  # planned, and not sent yet
        await room.deliver(GROUP, Cut("notifications", share))
        assert room.kills == 2
        assert len(receiver.arrived) == 1
        await room.take(page("shop", "response"))
        await room.deliver(9 * FOLLOW_UP)
        await room.deliver(18 * FOLLOW_UP)

    with Receiver() as receiver:
        live(store, bootstrap, [receiver.url], steps)
    assert list(receiver.ids.values()) == [copies, 1]
    assert set(receiver.told.values()) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_killed_every_page_is_told_in_one_message_that_repeats_at_most_once_a_kill(
    store: Store, bootstrap: str, seed: int
) -> None:
    dice, cried, killed = random.Random(seed), list[Page](), list[int]()

    def cut(*tables: str) -> Cut:
        return Cut(dice.choice(tables), dice.choice([0, 1])) if dice.random() < 0.4 else NO_CUT

    async def steps(room: Room) -> None:
        for _ in range(40):
            match dice.choice(["page", "page", "deliver", "deliver", "deliver", "resolve"]):
                case "page":
                    cried.append(page(dice.choice(["shop", "search"]), f"s{len(cried)}"))
                    await room.take(cried[-1], cut=cut("outbox", "incident_events", "incidents", "ledger"))
                case "deliver":
                    await room.deliver(room.second + dice.choice([1, GROUP, FOLLOW_UP]), cut("notifications"))
                case "resolve":
                    await room.resolve()
        await room.take()
        for _ in range(3):
            await room.deliver(room.second + 2 * FOLLOW_UP)
        killed.append(room.kills)

    with Receiver() as receiver:
        rows = live(store, bootstrap, [receiver.url], steps)
    assert receiver.told == Counter(each.page_id for each in cried)
    assert receiver.ids.keys() == {row["notification_id"] for row in rows}
    assert len(rows) < len(cried)
    assert len(receiver.ids) <= receiver.ids.total() <= len(receiver.ids) + killed[0]
    assert {row["state"] for row in rows} == {"sent"}


class FullDisk(Store):
    """A store that answers, and takes no message in one of its states while its disk is full."""

    refused = ""

    def insert(self, table: str, rows: Sequence[Mapping[str, object]], token: str = "") -> None:
        if table == "notifications" and any(row["state"] == self.refused for row in rows):
            raise StoreUnavailable("NOT_ENOUGH_SPACE")
        super().insert(table, rows, token)


@pytest.mark.parametrize(("refused", "meanwhile"), [("pending", 0), ("sent", 1)])
def test_people_are_told_once_while_the_store_takes_nothing(
    store_path: Path, store: Store, bootstrap: str, refused: str, meanwhile: int
) -> None:
    full = FullDisk.embedded(store_path, store._database)
    assert isinstance(full, FullDisk)

    async def steps(room: Room) -> None:
        await room.take(page("shop"))
        full.refused = refused
        for second in range(GROUP, GROUP + 3):
            with pytest.raises(StoreUnavailable):
                await room.deliver(second)
        assert len(receiver.arrived) == meanwhile
        full.refused = ""
        await room.deliver()

    with Receiver() as receiver:
        [sent] = live(full, bootstrap, [receiver.url], steps)
    assert receiver.ids == {sent["notification_id"]: 1}
    assert sent["state"] == "sent"


def test_a_worker_that_leads_no_more_leaves_the_rest_to_the_one_that_does(store: Store, bootstrap: str) -> None:
    incidents = 4

    async def steps(room: Room) -> None:
        await room.take(*(page(f"shop {number}") for number in range(incidents)))
        room.second = GROUP
        leading = iter([True, True, True, False, False])
        await deliver(room.around, lambda: next(leading))
        assert len(receiver.arrived) == 2
        await room.deliver()

    with Receiver() as receiver:
        planned = live(store, bootstrap, [receiver.url], steps)
    assert len(planned) == incidents
    assert receiver.ids == Counter(row["notification_id"] for row in planned)
