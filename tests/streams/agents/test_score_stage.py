"""SCORE on a real broker and a real store: each message is stored, dead-lettered or a duplicate, once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition

from detectors.scoring import Scorer, Scores
from sinks.clickhouse import Store
from sinks.queries import Queries
from streams.agents.ledger import Ledger
from streams.agents.score import FeedbackStage, Outgoing, ScoreStage, in_order_of_time, scored_json
from streams.publisher import Publisher
from streams.settings import Settings
from streams.worker import Record
from tests.streams.agents.conftest import Topic
from tests.streams.agents.cut import Cut, CutPublisher, CutStore, Killed
from tocsin import Feedback, Interaction
from tocsin.contracts import now
from tocsin.messages import FEEDBACK, INTERACTIONS, SIGNALS, SIGNALS_MESSAGE, Scored, Source, pack_vector


def interaction(**fields: Any) -> Interaction:
    values: dict[str, Any] = {"application": "shop", "prompt": "Where is my parcel?", "response": "It is on its way."}
    return Interaction.model_validate(values | fields)


def run(store: Store, bootstrap: str, scorer: Scorer, *batches: Sequence[Record]) -> None:
    """Each batch goes to a stage of its own, as after a crash before the acknowledgement."""

    async def all_of_them() -> None:
        async with Publisher(bootstrap) as publisher:
            for batch in batches:
                await ScoreStage(store, publisher, scorer, Settings(), now)(list(batch))

    asyncio.run(all_of_them())


def signals_of(bootstrap: str, application: str) -> list[Scored]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=2_000)
    consumer.assign([TopicPartition(SIGNALS, partition) for partition in consumer.partitions_for_topic(SIGNALS)])
    read = [SIGNALS_MESSAGE.validate_json(message.value) for message in consumer]
    consumer.close()
    return [each for each in read if isinstance(each, Scored) and each.application == application]


def ledger(store: Store) -> dict[str, int]:
    rows = Queries(store).read("ledger")
    names = ("stored", "dead_lettered", "duplicate", "missing", "unaccounted")
    return {name: sum(int(row[name]) for row in rows) for name in names}


def test_an_interaction_becomes_a_row_with_signals_and_a_message(store: Store, bootstrap: str, scorer: Scorer) -> None:
    application = f"shop-{uuid.uuid4()}"
    topic = Topic(INTERACTIONS)
    said = interaction(application=application, prompt="You are a stupid idiot!", attributes={"tenant": "a"})
    run(store, bootstrap, scorer, [topic.record(said)])
    row = store.query("SELECT * FROM interactions")[0]
    assert row["interaction_id"] == said.interaction_id
    assert row["prompt"] == "You are a stupid idiot!"
    assert row["attributes"] == {"tenant": "a"}
    assert row["signals"]["prompt.toxicity"] > 0.5
    assert "prompt.toxicity" in row["flags"]
    assert len(row["prompt_vector"]) == 384
    messages = signals_of(bootstrap, application)
    assert [each.interaction_id for each in messages] == [said.interaction_id]
    assert messages[0].signals == row["signals"]


def test_a_batch_that_comes_again_is_stored_once_and_published_again(
    store: Store, bootstrap: str, scorer: Scorer
) -> None:
    application = f"shop-{uuid.uuid4()}"
    topic = Topic(INTERACTIONS)
    batch = [topic.record(interaction(application=application, prompt=f"question {i}")) for i in range(5)]
    batch.append(topic.record(b"not json"))
    run(store, bootstrap, scorer, batch, batch)
    assert store.query("SELECT count() AS n FROM interactions")[0]["n"] == 5
    assert store.query("SELECT count() AS n FROM dead_letters")[0]["n"] == 1
    assert ledger(store) == {"stored": 5, "dead_lettered": 1, "duplicate": 0, "missing": 0, "unaccounted": 0}
    sources = [each.source.offset for each in signals_of(bootstrap, application)]
    assert sources == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_rows_without_a_ledger_entry_are_recognised(
    store: Store, bootstrap: str, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed after its rows were written and before the ledger was."""
    topic = Topic(INTERACTIONS)
    batch = [topic.record(interaction(prompt=f"question {i}")) for i in range(4)]
    with monkeypatch.context() as killed:
        killed.setattr(Ledger, "close", _killed)
        with pytest.raises(Killed):
            run(store, bootstrap, scorer, batch)
    assert ledger(store)["stored"] == 0
    run(store, bootstrap, scorer, batch)
    assert store.query("SELECT count() AS n FROM interactions")[0]["n"] == 4
    assert ledger(store)["stored"] == 4


def test_what_comes_again_without_an_id_is_stored_once(
    store: Store, bootstrap: str, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service of another language wrote straight to the topics, and the process was killed after the rows."""
    said, topic = {"application": f"shop-{uuid.uuid4()}", "prompt": "Where?", "response": "Here."}, Topic(INTERACTIONS)
    rating = {"application": said["application"], "interaction_id": "i", "kind": "rating", "value": 1.0}
    batch, ratings = [topic.record(orjson.dumps(said)) for _ in range(3)], Topic(FEEDBACK)
    rated = [ratings.record(orjson.dumps(rating)) for _ in range(3)]
    feedback = FeedbackStage(store, Settings(), now)
    with monkeypatch.context() as killed:
        killed.setattr(Ledger, "close", _killed)
        with pytest.raises(Killed):
            run(store, bootstrap, scorer, batch)
        with pytest.raises(Killed):
            asyncio.run(feedback(rated))
    run(store, bootstrap, scorer, batch)
    asyncio.run(feedback(rated))
    assert store.query("SELECT count() AS rows, uniq(interaction_id) AS ids FROM interactions")[0] == {
        "rows": 3,
        "ids": 3,
    }
    assert store.query("SELECT count() AS rows FROM feedback")[0]["rows"] == 3
    assert ledger(store) == {"stored": 6, "dead_lettered": 0, "duplicate": 0, "missing": 0, "unaccounted": 0}


def _killed(*_: object) -> None:
    raise Killed


def test_wherever_the_stage_is_killed_the_tables_and_signals_end_up_the_same(
    store: Store, each_bootstrap: str, scorer: Scorer
) -> None:
    """What comes again after a kill comes in other batches, with what has arrived meanwhile."""
    application, topics = f"shop-{uuid.uuid4()}", [Topic(INTERACTIONS, 0), Topic(INTERACTIONS, 1)]
    times, cuts = (now() - timedelta(days=31), now()), ("interactions", "dead_letters", "ledger", SIGNALS)
    records: list[Record] = []

    def arrive() -> None:
        for i in range(7):
            said = interaction(application=application, prompt=f"question {i}", occurred_at=times[i % 2])
            records.append(topics[i % 2].record(said))
        records.append(topics[1].record(said))
        records.append(topics[0].record(b"not json"))

    def take(cut: Cut) -> None:
        async def once() -> None:
            async with CutPublisher(each_bootstrap, cut) as publisher:
                await ScoreStage(CutStore(store, cut), publisher, scorer, Settings(), now)(records)

        asyncio.run(once())

    for name, share in [(name, share) for name in cuts for share in (0, 0.5, 1)]:
        arrive()
        with pytest.raises(Killed):
            take(Cut(name, share))
    arrive()
    take(Cut())
    stored = 7 * 13
    assert store.query("SELECT count() AS rows, uniqExact(interaction_id) AS ids FROM interactions") == [
        {"rows": stored, "ids": stored}
    ]
    assert store.query("SELECT count() AS rows FROM dead_letters FINAL") == [{"rows": 13}]
    assert ledger(store) == {"stored": stored, "dead_lettered": 13, "duplicate": 13, "missing": 0, "unaccounted": 0}
    taken_in: dict[int, list[int]] = {0: [-1], 1: [-1]}
    for each in signals_of(each_bootstrap, application):  # as the watch stage does
        if each.source.offset > taken_in[each.source.partition][-1]:
            taken_in[each.source.partition].append(each.source.offset)
    placed = store.query(
        "SELECT source_partition AS p, arraySort(groupArray(source_offset)) AS at FROM interactions GROUP BY p"
    )
    assert {row["p"]: [-1, *row["at"]] for row in placed} == taken_in


def test_two_workers_that_overlap_account_for_each_message_once(store: Store, bootstrap: str, scorer: Scorer) -> None:
    """One was taken for dead and goes on while the other has its partition; then the first gets it back."""
    topic = Topic(INTERACTIONS)
    records = [topic.record(interaction(prompt=f"question {i}")) for i in range(30)]

    async def both() -> None:
        async with Publisher(bootstrap) as publisher:
            first, second = (ScoreStage(store, publisher, scorer, Settings(), now) for _ in range(2))
            await first(records[:10])
            await asyncio.gather(first(records[10:20]), second(records[10:25]))
            await first(records[10:17])
            await second(records[25:])

    asyncio.run(both())
    assert store.query("SELECT count() AS rows FROM interactions FINAL") == [{"rows": 30}]
    assert ledger(store) == {"stored": 30, "dead_lettered": 0, "duplicate": 0, "missing": 0, "unaccounted": 0}


def test_an_id_that_comes_again_is_a_duplicate_within_its_hour_and_a_conflict_beyond(
    store: Store, bootstrap: str, scorer: Scorer
) -> None:
    topic = Topic(INTERACTIONS)
    first = interaction()
    later = first.model_copy(update={"occurred_at": first.occurred_at - timedelta(hours=5)})
    run(
        store, bootstrap, scorer, [topic.record(first), topic.record(first)], [topic.record(first), topic.record(later)]
    )
    rows = store.query("SELECT occurred_at, flags FROM interactions FINAL ORDER BY source_offset")
    assert len(rows) == 2
    assert "id_conflict" not in rows[0]["flags"]
    assert "id_conflict" in rows[1]["flags"]
    assert ledger(store) == {"stored": 2, "dead_lettered": 0, "duplicate": 2, "missing": 0, "unaccounted": 0}


def test_of_two_with_one_id_the_later_one_is_the_conflict_also_when_both_come_again(
    store: Store, bootstrap: str, scorer: Scorer
) -> None:
    topic, application = Topic(INTERACTIONS), f"shop-{uuid.uuid4()}"
    first = interaction(application=application)
    later = first.model_copy(update={"occurred_at": first.occurred_at - timedelta(hours=5)})
    batch = [topic.record(first), topic.record(later)]
    run(store, bootstrap, scorer, batch, batch)
    flagged = [(each.source.offset, "id_conflict" in each.flags) for each in signals_of(bootstrap, application)]
    assert sorted(flagged) == [(0, False), (0, False), (1, True), (1, True)]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"\x00\xff\xfe\x80", "not_json"),
        (b'{"application": "a", "prompt": "\\ud800", "response": ""}', "not_json"),
        (b"[1, 2]", "not_an_object"),
        (b'{"schema_version": 7}', "unknown_version"),
        (b'{"application": "a", "prompt": 5, "response": "x"}', "schema"),
        (b'{"application": "a", "promt": "x", "response": "x"}', "schema"),
        (b'{"application": "a", "prompt": "x", "response": "x", "occurred_at": "9999-12-31T23:59:59-23:59"}', "schema"),
        (b'{"application": "a", "prompt": "x", "response": "x", "occurred_at": "9999-01-01T00:00:00Z"}', "future"),
        (b'{"application": "a", "prompt": "x", "response": "x", "occurred_at": "2001-01-01T00:00:00Z"}', "too_old"),
        (b'{"application": "a", "prompt": "' + b"x" * 1_100_000 + b'", "response": "x"}', "too_large"),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_its_bytes_and_reason(
    store: Store, bootstrap: str, scorer: Scorer, raw: bytes | None, reason: str
) -> None:
    topic = Topic(INTERACTIONS)
    run(store, bootstrap, scorer, [topic.record(raw), topic.record(interaction())])
    rows = store.query("SELECT reason, raw, source_offset FROM dead_letters")
    assert [(row["reason"], row["source_offset"]) for row in rows] == [(reason, 0)]
    assert rows[0]["raw"].startswith("base64:") or rows[0]["raw"].encode() == (raw or b"")
    assert store.query("SELECT count() AS n FROM interactions")[0]["n"] == 1
    assert ledger(store)["missing"] == 0


def test_empty_and_overlong_texts_are_stored_with_a_flag(store: Store, bootstrap: str, scorer: Scorer) -> None:
    topic = Topic(INTERACTIONS)
    run(
        store,
        bootstrap,
        scorer,
        [topic.record(interaction(prompt="", response=" ")), topic.record(interaction(prompt="word " * 40_000))],
    )
    flags = [row["flags"] for row in store.query("SELECT flags FROM interactions ORDER BY source_offset")]
    assert {"prompt.empty", "response.empty"} <= set(flags[0])
    assert "cut" in flags[1]


def test_feedback_is_stored_once_and_joined_by_id(store: Store) -> None:
    topic = Topic(FEEDBACK)
    good = Feedback(interaction_id="i", application="shop", kind="rating", value=4.0)
    word = Feedback(interaction_id="i", application="shop", kind="label", value="helpful")
    batch = [topic.record(good), topic.record(word), topic.record(good), topic.record(b"{}")]
    for _ in range(2):
        asyncio.run(FeedbackStage(store, Settings(), now)(batch))
    rows = store.query("SELECT kind, rating, text FROM feedback FINAL ORDER BY kind")
    assert [(row["kind"], row["rating"], row["text"]) for row in rows] == [
        ("label", None, "helpful"),
        ("rating", 4.0, ""),
    ]
    assert ledger(store) == {"stored": 2, "dead_lettered": 1, "duplicate": 1, "missing": 0, "unaccounted": 0}


def test_what_the_watch_stage_is_told_is_the_contract_of_it() -> None:
    said = interaction(
        session_id="s", model={"name": "m", "version": "2"}, prompt_template={"name": "t"}, attributes={"tenant": "a"}
    )
    vectors = [np.full(4, value, np.float32) for value in (0.5, -2.0)]
    scores = Scores({"prompt.toxicity": 0.25}, {"prompt.language": "en"}, ["empty"], *vectors, "encoder", "heads")
    source = Source(topic=INTERACTIONS, partition=1, offset=7)
    assert Scored.model_validate_json(scored_json(said, source, scores, ["cut"])) == Scored(
        source=source,
        interaction_id=said.interaction_id,
        application=said.application,
        occurred_at=said.occurred_at,
        session_id="s",
        model=said.model,
        prompt_template=said.prompt_template,
        attributes={"tenant": "a"},
        signals={"prompt.toxicity": 0.25},
        labels={"prompt.language": "en"},
        flags=["empty", "cut"],
        prompt_vector=pack_vector(np.full(4, 0x3F00, "<u2").tobytes()),  # bfloat16
        response_vector=pack_vector(np.full(4, 0xC000, "<u2").tobytes()),
        encoder="encoder",
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=40))
def test_signals_are_merged_by_time_and_keep_the_order_of_each_partition(said: list[tuple[int, int]]) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    signals = [
        Outgoing(partition, first + timedelta(minutes=minute), "shop", str(number).encode())
        for number, (partition, minute) in enumerate(said)
    ]
    merged = list(in_order_of_time(signals))
    assert sorted(merged, key=lambda each: int(each.value)) == signals
    for number in range(4):
        offsets = [int(each.value) for each in merged if each.partition == number]
        assert offsets == sorted(offsets)
    one_each = {each.partition for each in signals}
    if len(one_each) == len(signals):
        assert merged == sorted(merged, key=lambda each: each.occurred_at)
