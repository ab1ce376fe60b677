"""Dead letters are kept as they came, can be mended and published again, once, and the ledger stays exact."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from sinks.clickhouse import Store
from sinks.rows import kept_bytes, original_bytes
from streams.agents.score import FeedbackStage
from streams.audit import FATES, LatestAudit, as_json, audit
from streams.core.decoding import bounds_of
from streams.deadletters import Order, Replayed, Selection, latest, page, prepared, replay
from streams.engines.broker import EmbeddedBroker
from streams.gateway.publisher import Publisher
from streams.metrics import LEDGER
from streams.settings import Broker, Limits, Settings
from streams.topics import ensure_topics
from streams.worker import Record
from tocsin.contracts import now
from tocsin.messages import FEEDBACK, INTERACTIONS, Source
from tocsin.transports import Message

pytestmark = pytest.mark.integration

GOOD = {"application": "shop", "interaction_id": "i-1", "kind": "rating", "value": 1.0}
BOUNDS = bounds_of(Limits())
BAD = {
    "misspelt": json.dumps(GOOD | {"feedback_id": "f-2", "ratting": 1}).encode(),
    "without an id": json.dumps({"application": "shop", "kind": "rating", "value": 1.0}).encode(),
    "no text": b"\xff\x00 no JSON",
}


@dataclass
class Installation:
    """A broker, a store, and the stage that reads feedback."""

    bootstrap: str
    store: Store
    read: dict[TopicPartition, int] = field(default_factory=dict)

    def produce(self, values: list[bytes]) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap)
        for value in values:
            producer.send(FEEDBACK, value).get(30)
        producer.close()

    def work(self) -> int:
        """Let the stage deal with everything that is new in the topic."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        partitions = [TopicPartition(FEEDBACK, number) for number in consumer.partitions_for_topic(FEEDBACK)]
        consumer.assign(partitions)
        for partition, offset in self.read.items():
            consumer.seek(partition, offset)
        found: list[Any] = []
        while polled := consumer.poll(timeout_ms=1_500):
            for partition, records in polled.items():
                found += records
                self.read[partition] = records[-1].offset + 1
        consumer.close()
        stage = FeedbackStage(self.store, Settings(), now)
        asyncio.run(stage([Record(FEEDBACK, one.partition, one.offset, now(), one.value) for one in found]))
        return len(found)

    def replay(self, fixes: Mapping[str, bytes] | None = None, die: bool = False, **options: Any) -> Replayed:
        """Replay a page; `die` after the broker has it and before it is marked."""

        async def go() -> Replayed:
            publisher = Publisher(self.bootstrap, timeout_seconds=30, max_message_bytes=1_048_576)
            await publisher.connected()

            async def send(messages: Any) -> list[Source]:
                places = await publisher.send(messages)
                if die:
                    raise KilledError
                return places

            try:
                return await replay(self.store, send, BOUNDS, Order(Selection(), fixes or {}, **options))
            finally:
                await publisher.close()

        return asyncio.run(go())

    def totals(self) -> dict[str, int]:
        found = as_json(audit(self.store, self.bootstrap))
        assert found["exact"]
        return dict(found["total"])

    def letters(self) -> dict[bytes, str]:
        return {row["raw"]: row["letter_id"] for row in page(self.store, Selection())}


class KilledError(Exception):
    """Stands for kill -9."""


@pytest.fixture
def installation(tmp_path: Path, store: Store) -> Iterator[Installation]:
    with EmbeddedBroker(tmp_path) as broker:
        ensure_topics(Broker(bootstrap=broker.bootstrap, partitions=2))
        made = Installation(broker.bootstrap, store)
        made.produce([json.dumps(GOOD | {"feedback_id": "f-1"}).encode(), *BAD.values()])
        made.work()
        yield made


def outcomes(replayed: Replayed) -> dict[str, str]:
    return {letter_id: outcome for letter_id, outcome, _ in replayed.outcomes}


def test_dead_letters_are_mended_replayed_once_and_accounted_for(installation: Installation) -> None:
    assert installation.totals()["dead_lettered"] == 3
    assert set(installation.letters()) == set(BAD.values())
    assert {row["replays"] for row in latest(installation.store, Selection())} == {0}
    assert set(outcomes(installation.replay()).values()) == {"unreadable"}

    mine = installation.letters()
    misspelt, without = mine[BAD["misspelt"]], mine[BAD["without an id"]]
    fixes = {
        misspelt: json.dumps(GOOD | {"feedback_id": "f-2"}).encode(),
        without: json.dumps(GOOD).encode(),
        "tocsin.feedback/0/9999": b"{}",
    }
    tried = outcomes(installation.replay(fixes, dry_run=True))
    assert tried == {misspelt: "would be replayed", without: "would be replayed", "tocsin.feedback/0/9999": "unknown"}
    assert installation.work() == 0
    assert outcomes(installation.replay(fixes))[misspelt] == "replayed"
    assert outcomes(installation.replay(fixes)) == {**tried, misspelt: "replayed before", without: "replayed before"}
    assert installation.work() == 2
    expected = {"produced": 6, "stored": 3, "dead_lettered": 3, "duplicate": 0, "waiting": 0, "lost": 0}
    assert installation.totals() == expected
    # an id and a time that the letter did not have are the letter's own, so that a repeat is known for one
    rows = installation.store.query("SELECT feedback_id, given_at FROM feedback FINAL")
    received = next(
        row["received_at"] for row in latest(installation.store, Selection()) if row["letter_id"] == without
    )
    own = f"{without}/{round(received.timestamp() * 1000)}"
    assert {row["feedback_id"]: row["given_at"] for row in rows}.items() >= {own: received}.items()
    assert {row["feedback_id"] for row in rows} == {"f-1", "f-2", own}
    assert sum(row["replays"] for row in latest(installation.store, Selection())) == 2
    assert outcomes(installation.replay(fixes, again=True))[misspelt] == "replayed"
    assert installation.work() == 2
    assert installation.totals() == {**expected, "produced": 8, "duplicate": 2}


def test_a_replay_that_is_killed_before_its_mark_stores_nothing_twice(installation: Installation) -> None:
    fixes = {installation.letters()[BAD["without an id"]]: json.dumps(GOOD).encode()}
    with pytest.raises(KilledError):
        installation.replay(fixes, die=True)
    assert set(outcomes(installation.replay(fixes)).values()) == {"replayed"}
    assert installation.work() == 2
    totals = installation.totals()
    assert (totals["stored"], totals["duplicate"], totals["lost"]) == (2, 1, 0)
    assert len(installation.store.query("SELECT * FROM feedback FINAL")) == 2


def test_the_metrics_and_the_pages_are_told_what_the_audit_says(installation: Installation) -> None:
    latest_audit = LatestAudit(installation.store, installation.bootstrap)
    found = latest_audit()
    assert found is not None
    for each in found:
        shown = {fate: LEDGER.labels(each.topic, str(each.partition), fate)._value.get() for fate in FATES}
        assert shown == {fate: getattr(each, fate) for fate in FATES}
    assert latest_audit.waiting() == {(each.topic, each.partition): each.waiting for each in found}
    away = LatestAudit(installation.store, "127.0.0.1:9")
    assert away() is None
    assert away.waiting() is None


def test_letters_come_page_by_page_and_by_what_was_asked(store: Store) -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    store.insert(
        "dead_letters",
        [
            {
                "topic": topic,
                "source_partition": partition,
                "source_offset": offset,
                "received_at": at + timedelta(minutes=offset),
                "reason": "schema" if offset % 2 else "not_json",
                "detail": "",
                "raw": kept_bytes(b"x"),
                "retention_days": 3650,
            }
            for topic in (INTERACTIONS, FEEDBACK)
            for partition in range(2)
            for offset in range(50)
        ],
    )
    seen: list[str] = []
    selection = Selection(limit=7)
    while rows := page(store, selection):
        seen += [row["letter_id"] for row in rows]
        selection = Selection(limit=7, after=seen[-1])
    assert len(seen) == len(set(seen)) == 200
    assert len(page(store, Selection(topic=FEEDBACK, reason="schema"))) == 50
    assert len(page(store, Selection(since=at + timedelta(minutes=40)))) == 40
    assert [row["received_at"] for row in latest(store, Selection(limit=4))] == [at + timedelta(minutes=49)] * 4


@pytest.mark.parametrize("raw", [b"", b"{}", "ä\u2028".encode(), b"\xff\xfe", b"base64:", b"base64:eA==", b"\x00"])
def test_original_bytes_are_kept_whatever_they_are(raw: bytes) -> None:
    assert original_bytes(kept_bytes(raw)) == raw


def test_a_long_text_is_replayed_whole_and_other_topics_are_not() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    letter = {"topic": INTERACTIONS, "partition": 0, "offset": 7, "received_at": at}
    long = {"application": "shop", "prompt": "q" * 200_000, "response": "a"}
    message = prepared(letter, json.dumps(long).encode(), replace(BOUNDS, age=timedelta(days=36_500)))
    assert isinstance(message, Message)
    sent = json.loads(message.value)
    assert (len(sent["prompt"]), sent["interaction_id"]) == (200_000, "tocsin.interactions/0/7/1767225600000")
    assert not isinstance(prepared(letter | {"topic": "tocsin.signals"}, b"{}", BOUNDS), Message)
