"""WATCH on a real broker and a real store: it learns, pages, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

from detectors.encoder.bfloat16 import round_bfloat16, to_bfloat16
from sinks.clickhouse import Store
from sinks.queries import Queries
from sinks.recovery import Recovery
from sinks.rows import interaction_row
from streams.agents.watch import WatchStage
from streams.core.budget import Budget
from streams.core.decoding import CONFLICT
from streams.core.events import Raised
from streams.core.partition import PartitionMonitor
from streams.core.rules import Rules
from streams.metrics import LATE
from streams.publisher import Publisher
from streams.settings import Settings
from streams.worker import Record
from tests.streams.agents.conftest import Topic
from tests.streams.agents.cut import Cut, CutPublisher, CutStore, Killed
from tocsin import Interaction
from tocsin.messages import PAGES, SIGNALS, Page, Promote, Propose, Rearm, Scored, Source, pack_vector

UNITS = 2_000
DIMENSIONS = 384
RULES = Rules(UNITS, {"relevance": "both", "prompt.toxicity": "up"}, Budget(1.0), "test")
START = datetime.now(UTC) - timedelta(days=30)


def traffic(
    store: Store, application: str, count: int, changed_from: int, seed: int = 0, regions: Sequence[str] = ()
) -> list[Scored]:
    """Scored interactions whose rows are stored, as SCORE leaves them; from some point on a third of them differs."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(60, DIMENSIONS))

    def vector(kinds: slice) -> np.ndarray[Any, np.dtype[np.float32]]:
        centre = centres[kinds][random.integers(kinds.stop - kinds.start)]
        raw = centre + 1.2 * random.normal(size=DIMENSIONS)
        return round_bfloat16((raw / np.linalg.norm(raw)).astype(np.float32))

    messages, rows = [], []
    for i in range(count):
        changed = i >= changed_from and random.random() < 0.35
        prompt, response = vector(slice(45, 60) if changed else slice(0, 45)), vector(slice(0, 45))
        signals = {"relevance": float(random.normal()), "prompt.toxicity": float(random.random() ** 6)}
        attributes = {"region": regions[random.integers(len(regions))]} if regions else {}
        at, source = START + timedelta(minutes=5 * i), Source(topic="tocsin.interactions", partition=0, offset=i)
        interaction_id = f"i-{i}"
        said = Interaction(
            interaction_id=interaction_id,
            occurred_at=at,
            application=application,
            prompt="",
            response="",
            attributes=attributes,
        )
        rows.append(
            interaction_row(
                said,
                source,
                signals=signals,
                labels={},
                flags=[],
                vectors=(prompt, response),
                encoder="test",
                heads="",
                retention_days=3650,
            )
        )
        messages.append(
            Scored(
                source=source,
                interaction_id=interaction_id,
                application=application,
                occurred_at=at,
                attributes=attributes,
                signals=signals,
                prompt_vector=pack_vector(to_bfloat16(prompt).tobytes()),
                response_vector=pack_vector(to_bfloat16(response).tobytes()),
                encoder="test",
            )
        )
    store.insert("interactions", rows)
    return messages


def take(
    store: Store,
    bootstrap: str,
    batches: Sequence[Sequence[Record]],
    *,
    killed_between: bool = False,
    rules: Rules = RULES,
) -> None:
    """Hand batches to one stage, or each to a stage of its own, as if the worker had been killed in between."""

    async def all_of_them() -> None:
        async with Publisher(bootstrap) as publisher:
            stage = WatchStage(store, publisher, rules, Settings())
            for batch in batches:
                await stage(list(batch))
                if killed_between:
                    stage = WatchStage(store, publisher, rules, Settings())

    asyncio.run(all_of_them())


def pages_of(bootstrap: str, application: str) -> list[Page]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=2_000)
    consumer.assign([TopicPartition(PAGES, partition) for partition in consumer.partitions_for_topic(PAGES)])
    read = [Page.model_validate_json(message.value) for message in consumer]
    consumer.close()
    return [page for page in read if page.application == application]


def _killed(*_: object) -> None:
    raise Killed


def cut(records: Sequence[Record], *sizes: int) -> list[Sequence[Record]]:
    batches, start = [], 0
    for size in sizes:
        batches.append(records[start : start + size])
        start += size
    return [*batches, records[start:]]


def test_a_killed_stage_pages_exactly_as_one_that_lived(
    store: Store, bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = f"a-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    messages = traffic(store, application, UNITS + 700, UNITS + 300)
    traffic(store, f"b-{uuid.uuid4()}", UNITS, UNITS, seed=1)  # another application, which uses the same ids
    records = [topic.record(each) for each in messages]
    batches = cut(records, 900, 1_500)
    # the second batch holds the fit, the third the pages; each goes to a new stage
    take(store, bootstrap, batches[:-1], killed_between=True)
    with monkeypatch.context() as killed:
        killed.setattr(WatchStage, "_close", _killed)  # after the pages were published, before the snapshot
        with pytest.raises(Killed):
            take(store, bootstrap, batches[-1:])
    take(store, bootstrap, batches[-1:])
    paged = pages_of(bootstrap, application)
    assert {page.stream for page in paged} >= {"prompt"}
    assert all(page.position > 300 for page in paged)
    lived = PartitionMonitor(RULES)
    raised = [event.page for event in lived.apply(messages, {}) if isinstance(event, Raised)]
    assert {page.page_id: page for page in paged} == {page.page_id: page for page in raised}
    stored = store.query("SELECT page_id FROM pages FINAL")
    assert {row["page_id"] for row in stored} == {page.page_id for page in paged}
    first = next(page for page in paged if page.stream == "prompt")
    assert first.effect.now > first.effect.before
    assert first.share is not None
    assert 0 < first.share < 1
    assert len(first.exemplars) == 10
    assert store.query("SELECT count() AS n FROM references FINAL")[0]["n"] == 1


def test_of_two_interactions_with_one_id_the_first_is_the_unit_and_the_other_none(store: Store) -> None:
    application = f"t-{uuid.uuid4()}"
    first, other = traffic(store, application, 1, 1)[0], START + timedelta(hours=9)
    flagged = {"occurred_at": other, "flags": [CONFLICT], "source": first.source.model_copy(update={"offset": 1})}
    row = store.query("SELECT * FROM interactions")[0]
    store.insert("interactions", [row | {"occurred_at": other, "flags": [CONFLICT], "source_offset": 1}])
    monitor = PartitionMonitor(RULES)
    monitor.apply([first, first.model_copy(update=flagged)], {})
    learning = monitor.applications[application].whole.learning
    assert learning is not None and len(learning.units) == 1
    read = Recovery(store).units(application, ["i-0"])
    assert [row["occurred_at"] for row in read] == [START.replace(microsecond=START.microsecond // 1000 * 1000)]


def test_wherever_the_stage_is_killed_its_pages_and_state_end_up_the_same(store: Store, each_bootstrap: str) -> None:
    application, topic = f"k-{uuid.uuid4()}", Topic(SIGNALS)
    messages = traffic(store, application, UNITS + 300, UNITS + 50)
    records = [topic.record(each) for each in messages]
    begin = UNITS + 60
    take(store, each_bootstrap, [records[:begin]])

    async def killed(cut: Cut, upto: int) -> None:
        async with CutPublisher(each_bootstrap, cut) as publisher:
            await WatchStage(CutStore(store, cut), publisher, RULES, Settings())(records[begin:upto])

    for i, name in enumerate(["evidence", "pages", PAGES, "detector_states", "ledger"]):
        with pytest.raises(Killed):
            asyncio.run(killed(Cut(name), UNITS + 250 + 7 * i))
    take(store, each_bootstrap, [records[begin:]])
    lived = PartitionMonitor(RULES)
    raised = [event.page for event in lived.apply(messages, {}) if isinstance(event, Raised)]
    assert raised
    assert {page.page_id: page for page in pages_of(each_bootstrap, application)} == {
        page.page_id: page for page in raised
    }
    assert {row["page_id"] for row in store.query("SELECT page_id FROM pages FINAL")} == {
        page.page_id for page in raised
    }
    assert store.query("SELECT next_offset FROM detector_states FINAL WHERE application != ''") == [
        {"next_offset": len(records)}
    ]
    rows = Queries(store).read("ledger")
    assert [(row["stored"], row["missing"], row["unaccounted"]) for row in rows] == [(len(records), 0, 0)]


def test_a_killed_stage_pages_for_a_segment_exactly_as_one_that_lived(
    store: Store, bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, eu = f"s-{uuid.uuid4()}", "attribute region=eu"
    rules = replace(RULES, segments=("attribute region",))
    messages = traffic(store, application, 3_900, 3_600, regions=["eu"] * 6 + ["us"])
    topic = Topic(SIGNALS)
    batches = cut([topic.record(each) for each in messages], 1_500, 1_700)
    take(store, bootstrap, batches[:-1], killed_between=True, rules=rules)
    with monkeypatch.context() as killed:
        killed.setattr(WatchStage, "_close", _killed)
        with pytest.raises(Killed):
            take(store, bootstrap, batches[-1:], rules=rules)
    take(store, bootstrap, batches[-1:], rules=rules)
    raised = [event.page for event in PartitionMonitor(rules).apply(messages, {}) if isinstance(event, Raised)]
    assert {page.page_id: page for page in pages_of(bootstrap, application)} == {page.page_id: page for page in raised}
    assert ("prompt", eu) in {(page.stream, page.segment) for page in raised}
    stored = store.query("SELECT stream, segment FROM pages FINAL WHERE stream = 'prompt' ORDER BY segment")
    assert [row["segment"] for row in stored] == ["", eu]
    known = store.query("SELECT segment, status FROM references FINAL ORDER BY segment")
    assert [(row["segment"], row["status"]) for row in known] == [("", "current"), (eu, "current")]
    learned = store.query("SELECT max(units) AS n FROM evidence FINAL WHERE stream = 'learning' AND segment != ''")
    assert 1_900 < learned[0]["n"] <= UNITS


def test_after_an_upgrade_the_reference_is_made_again_from_the_same_interactions(store: Store, bootstrap: str) -> None:
    """States and references of another version of the program cannot be read, but the interactions can."""
    application = f"u-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    messages = traffic(store, application, UNITS + 100, 10**9)
    records = [topic.record(each) for each in messages]
    take(store, bootstrap, [records[: UNITS + 10]])
    upto = UNITS + 11
    (row,) = store.query("SELECT * FROM detector_states FINAL WHERE application != ''")
    former = base64.b64encode(b"PK of an earlier program").decode()
    store.insert("detector_states", [{**row, "state": former, "next_offset": upto}])
    (reference,) = store.query("SELECT * FROM references FINAL")
    outdated = reference | {"fitted": former, "version": reference["version"] + 1}
    proposed = outdated | {"reference_id": "p", "status": "proposed", "members": []}
    store.insert("references", [outdated, proposed])
    take(store, bootstrap, [records[upto : UNITS + 60], records[UNITS + 60 :]], killed_between=True)
    rows = store.query("SELECT status, members FROM references FINAL ORDER BY status, members")
    assert [row["status"] for row in rows] == ["current", "superseded", "superseded"]
    assert rows[0]["members"] == [*reference["members"], messages[upto].interaction_id]
    watched = store.query("SELECT argMax(units, occurred_at) AS n FROM evidence FINAL WHERE stream = 'response'")
    assert 50 <= watched[0]["n"] < 100


def test_what_was_seen_before_is_dropped(store: Store, bootstrap: str) -> None:
    """SCORE publishes again after a crash: the same sources at new offsets of this topic."""
    application = f"b-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    messages = traffic(store, application, 64, 10**9)
    take(store, bootstrap, [[topic.record(each) for each in messages], [topic.record(each) for each in messages]])
    shown = store.query("SELECT max(units) AS units FROM evidence FINAL WHERE stream = 'learning'")
    assert shown[0]["units"] == 64


def test_a_resolved_incident_arms_the_streams_again(store: Store, bootstrap: str) -> None:
    application = f"c-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    records = [topic.record(each) for each in traffic(store, application, UNITS + 700, UNITS + 100)]
    rearm = Rearm(
        source=Source(topic="tocsin.commands", partition=0, offset=0), application=application, incident_id="i"
    )
    take(store, bootstrap, [records[: UNITS + 400], [topic.record(rearm), *records[UNITS + 400 :]]])
    streams = [page.stream for page in pages_of(bootstrap, application)]
    assert streams.count("prompt") == 2


def test_traffic_of_a_time_that_has_passed_is_told_of_once(
    store: Store, bootstrap: str, caplog: pytest.LogCaptureFixture
) -> None:
    application = f"l-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    history = traffic(store, application, 40, 10**9)
    now = history[-1].model_copy(update={"occurred_at": history[-1].occurred_at + timedelta(days=20)})
    take(store, bootstrap, [[topic.record(now)], [topic.record(each) for each in history[:-1]]])
    told = [record.getMessage() for record in caplog.records if application in record.getMessage()]
    assert len(told) == 1 and "no page budget" in told[0]
    assert LATE.labels(application)._value.get() == 39


def test_a_proposed_reference_is_collected_and_promoted(store: Store, bootstrap: str) -> None:
    application = f"d-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    messages = traffic(store, application, 2 * UNITS + 20, 10**9)
    propose = Propose(
        source=Source(topic="tocsin.commands", partition=0, offset=0), application=application, run_id="run-1"
    )
    records = [topic.record(each) for each in [*messages[: UNITS + 10], propose, *messages[UNITS + 10 :]]]
    take(store, bootstrap, cut(records, 1_000, 2_000), killed_between=True)
    rows = store.query("SELECT reference_id, status, run_id, units FROM references FINAL ORDER BY status")
    assert [(row["status"], row["run_id"]) for row in rows] == [("current", ""), ("proposed", "run-1")]
    promote = Promote(
        source=Source(topic="tocsin.commands", partition=0, offset=1),
        application=application,
        reference_id=rows[1]["reference_id"],
    )
    take(store, bootstrap, [[topic.record(promote)]])
    state = store.query("SELECT max(units) AS units FROM evidence FINAL WHERE stream = 'prompt'")
    assert state[0]["units"] > 0


def test_an_unreadable_message_is_a_dead_letter_and_stops_nothing(store: Store, bootstrap: str) -> None:
    application = f"e-{uuid.uuid4()}"
    topic = Topic(SIGNALS)
    readable = [topic.record(each) for each in traffic(store, application, 32, 10**9)]
    take(store, bootstrap, [[topic.record(b"{}"), *readable]])
    assert [row["topic"] for row in store.query("SELECT topic FROM dead_letters")] == [SIGNALS]
    assert store.query("SELECT max(units) AS units FROM evidence FINAL")[0]["units"] == 32
