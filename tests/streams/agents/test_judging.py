"""The judge's work on a real store and a real broker: within its budget, nothing twice, whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from sinks.clickhouse import Store
from streams.agents.judging import Judging
from streams.publisher import Publisher
from streams.scorers.catalogue import read_anchors, read_evaluation
from streams.scorers.judge import Judge
from streams.settings import Judge as JudgeSettings
from tests.judge_server import JudgeServer, content, fails, judge_server, late, says, texts_of
from tocsin.messages import PAGES, Page

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)  # rows that are too old go
SECRET = "nobody may read this in a log"
GRADE, COMPARE = read_evaluation("helpfulness-v1"), read_evaluation("against-reference-v1")


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


def traffic(store: Store, application: str, count: int, reference: str = "", at: datetime = NOON) -> None:
    store.insert(
        "interactions",
        [
            {
                "application": application,
                "interaction_id": f"{application}-{i}",
                "occurred_at": at - timedelta(minutes=i),
                "prompt": SECRET,
                "response": f"answer {i}",
                "reference": reference,
                "retention_days": 3650,
            }
            for i in range(count)
        ],
    )


async def cut_off(judging: Judging, server: JudgeServer) -> float:
    """A round that ends as soon as the judge was asked."""
    task = asyncio.create_task(judging.advance())
    while not server.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    return 0.0


class Installation:
    """A judge and its work, made anew for every round as after a restart."""

    def __init__(self, store: Store, bootstrap: str, server: JudgeServer) -> None:
        self.store, self.bootstrap, self.server, self.now = store, bootstrap, server, NOON

    def round(self, rounds: int = 1, evaluation: Any = GRADE, killed: bool = False, **changes: Any) -> float:
        settings = JudgeSettings.model_validate(
            {"url": self.server.url, "model": "judge-7", "sample_rate": 1, "anchors": False, "tries": 2} | changes
        )

        async def no_time(_: float) -> None:
            """Waits not."""

        async def run() -> float:
            async with Publisher(self.bootstrap) as publisher:
                judge = Judge(
                    settings.url,
                    "judge-7",
                    "",
                    timeout=5,
                    tries=settings.tries,
                    structured=True,
                    parameters={},
                    sleep=no_time,
                )
                anchors = read_anchors([evaluation])
                judging = Judging(self.store, publisher, judge, [evaluation], anchors, settings, lambda: self.now)
                seconds = 0.0
                for _ in range(rounds):
                    seconds = await (cut_off(judging, self.server) if killed else judging.advance())
                return seconds

        return asyncio.run(run())

    def verdicts(self) -> list[dict[str, Any]]:
        return self.store.query("SELECT * FROM verdicts FINAL ORDER BY application, interaction_id")


@pytest.fixture
def house(store: Store, bootstrap: str, server: JudgeServer) -> Installation:
    return Installation(store, bootstrap, server)


def test_a_sample_is_judged_once_and_stored_with_the_digest_of_the_prompt(house: Installation) -> None:
    traffic(house.store, "bot", 3)
    house.round()
    house.round(rounds=2)
    rows = house.verdicts()
    assert len(rows) == 3 and len(house.server.requests) == 6
    for row in rows:
        assert (row["state"], row["score"], row["agrees"], row["calls"]) == ("judged", 1.0, 1, 2)
        assert (row["evaluation"], row["evaluation_sha"], row["judge_model"]) == (GRADE.name, GRADE.sha, "judge-7")


def test_only_the_sampled_part_is_judged_and_always_the_same(house: Installation) -> None:
    traffic(house.store, "bot", 80)
    house.round(rounds=3, sample_rate=0.1)
    first = {row["interaction_id"] for row in house.verdicts()}
    house.round(rounds=3, sample_rate=0.1)
    assert {row["interaction_id"] for row in house.verdicts()} == first and 2 <= len(first) <= 20


def test_the_budget_of_a_day_is_kept_across_restarts_and_comes_again_the_next_day(house: Installation) -> None:
    for name in ("a", "b", "c"):
        traffic(house.store, name, 8)
    for _ in range(3):
        house.round(calls_per_day=14, calls_per_application=6)
    assert len(house.server.requests) == 14
    house.now += timedelta(days=1)
    house.round(calls_per_day=14, calls_per_application=6)
    assert len(house.server.requests) == 28


def test_no_application_takes_more_than_its_part(house: Installation) -> None:
    traffic(house.store, "a", 9)
    house.round(rounds=3, calls_per_day=100, calls_per_application=7)
    assert len(house.server.requests) == 6


def test_a_worker_that_is_killed_while_the_judge_thinks_spends_nothing_twice(house: Installation) -> None:
    """What it had reserved stays spent, since nobody knows which of it was asked; the verdict is asked for again."""
    traffic(house.store, "bot", 1)

    house.server.will(then=late(3))
    house.round(killed=True)
    (row,) = house.verdicts()
    assert (row["state"], row["calls"]) == ("planned", 4)
    house.server.will(then=says("good"))
    house.round(calls_per_day=5)
    assert [each["state"] for each in house.verdicts()] == ["planned"], "one call is left of five: no verdict"
    house.round()
    (row,) = house.verdicts()
    assert (row["state"], row["calls"]) == ("judged", 6)


def test_a_judge_that_is_away_is_asked_again_and_the_tries_count(house: Installation) -> None:
    traffic(house.store, "bot", 2)
    house.server.will(then=fails(429, "40"))
    assert house.round() == 40.0, "as long as it says"
    assert len(house.server.requests) == 2, "the round ends at the first"
    assert [row["state"] for row in house.verdicts()] == ["planned"]
    house.server.will(then=says("bad"))
    house.round()
    assert [(row["state"], row["score"]) for row in house.verdicts()] == [("judged", 0.0), ("judged", 0.0)]
    assert sum(row["calls"] for row in house.verdicts()) == len(house.server.requests)


def test_an_answer_that_is_no_verdict_is_final_and_holds_up_nobody(
    house: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    traffic(house.store, "bot", 2)
    house.server.will(lambda _: content(f"I say: {SECRET}"), then=says("good"))
    house.round(rounds=2)
    rows = house.verdicts()
    assert sorted(row["state"] for row in rows) == ["judged", "unusable"]
    assert SECRET not in caplog.text and SECRET not in str(rows)


def test_only_interactions_with_a_reference_are_compared_with_it(house: Installation) -> None:
    traffic(house.store, "bot", 2)
    traffic(house.store, "exam", 1, reference="the right answer")
    house.server.will(says("A"), says("B"))
    house.round(evaluation=COMPARE)
    (row,) = house.verdicts()
    assert (row["application"], row["first"], row["score"]) == ("exam", "given", 1.0)


def grading(requests_text: str) -> str:
    """What an impartial judge says of the anchors."""
    text = requests_text
    return next((each.expected for each in read_anchors([GRADE]) if _holds(text, each.prompt, each.response)), "good")


def _holds(text: str, prompt: str, response: str) -> bool:
    return f" request]\n{prompt}\n" in text and f" answer]\n{response}\n" in text


def test_a_judge_that_agrees_with_the_anchor_set_pages_nobody_and_is_asked_once_a_day(house: Installation) -> None:
    house.server.will(then=lambda body: content(f'{{"verdict": "{grading(texts_of([body])[0])}"}}'))
    house.round(rounds=2, anchors=True)
    asked = len(house.server.requests)
    assert asked == 2 * len(read_anchors([GRADE]))
    house.round(anchors=True)
    assert len(house.server.requests) == asked and house.store.query("SELECT * FROM pages FINAL") == []
    house.now += timedelta(days=1)
    house.round(anchors=True)
    assert len(house.server.requests) == 2 * asked


def test_a_judge_that_has_changed_is_paged_by_a_rule_once_a_day(house: Installation) -> None:
    house.server.will(then=says("good"))
    house.round(anchors=True)
    house.round(anchors=True)
    (stored,) = house.store.query("SELECT page_id, lane, application FROM pages FINAL")
    assert (stored["lane"], stored["application"]) == ("rule", "judge")
    sent = [page for page in published(house.bootstrap) if page.page_id == stored["page_id"]]
    assert sent and sent[0].effect.before == 1.0 and sent[0].effect.now == 0.5


def published(bootstrap: str) -> list[Page]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=2_000)
    consumer.assign([TopicPartition(PAGES, partition) for partition in consumer.partitions_for_topic(PAGES)])
    read = [Page.model_validate_json(message.value) for message in consumer]
    consumer.close()
    return read
