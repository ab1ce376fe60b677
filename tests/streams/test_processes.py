"""The production shape: every role a process of its own, over Apache Kafka and a ClickHouse that answers HTTP.

Commands and settings are those of docker-compose.yml; addresses and secrets are the test's.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kafka import KafkaAdminClient

from sinks.clickhouse import Store
from sinks.recovery import UNDELIVERED
from streams.access import new_key
from streams.engines.broker import free_port
from streams.pipeline import ROLES
from streams.publisher import Publisher
from tests.program import CLICKHOUSE, TOCSIN, Program, tocsin, until
from tests.receiver import Receiver
from tests.streams.agents.paging import page
from tocsin.messages import INTERACTIONS, PAGES, TOPICS, Page

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
REFERENCE_UNITS = 2_000
ORDINARY, CHANGED = REFERENCE_UNITS + 200, 250
STOP_SECONDS = 5
BATCH = 100
LEADS = "this worker responds"

OPENINGS = ("How do I", "Can you help me to", "I would like to", "Please tell me how to", "What is the best way to")
VERBS = ("return", "repair", "exchange", "order", "assemble", "cancel", "track", "clean", "insure", "compare")
THINGS = ("a bicycle", "the blue lamp", "my laptop", "a garden chair", "two tickets", "the coffee machine", "a jacket")
WHEN = ("before Friday", "without a receipt", "from abroad", "for my mother", "at the shop in town", "as a gift")
ENDS = ("?", ", and what does it cost?", ", please?", " if it is broken?", ", or is it too late?", " with a voucher?")
INSULTS = ("you worthless idiot", "you stupid piece of junk", "shut up, moron", "you pathetic clown", "damn you, loser")


class Production:
    """The services of docker-compose.yml as processes, each with a directory of its own."""

    def __init__(self, directory: Path, kafka: str, receiver: Receiver, stack: ExitStack) -> None:
        self.directory, self._stack = directory, stack
        self.key, hashed = new_key()
        keys = [{"name": "test", "sha256": hashed, "scopes": ["publish", "read"]}]
        self._secrets = {
            "TOCSIN_GATEWAY__KEYS": json.dumps(keys),
            "TOCSIN_GATEWAY__LOGIN_USER": "operator",
            "TOCSIN_GATEWAY__LOGIN_SHA256": "0" * 64,
            "TOCSIN_NOTIFICATION__URLS": json.dumps([receiver.url]),
        }
        self.clickhouse_port, self._gateway_port = free_port(), free_port()
        self._places = {
            "TOCSIN_BROKER__BOOTSTRAP": kafka,
            "TOCSIN_CLICKHOUSE__HOST": "127.0.0.1",
            "TOCSIN_CLICKHOUSE__PORT": str(self.clickhouse_port),
            "TOCSIN_GATEWAY__HOST": "127.0.0.1",
            "TOCSIN_GATEWAY__PORT": str(self._gateway_port),
            "TOCSIN_WATCH__REFERENCE_UNITS": str(REFERENCE_UNITS),
            "TOCSIN_DISK_FREE_BYTES": "0",
            "TOCSIN_NOTIFICATION__FOLLOW_UP_SECONDS": "1",
        }
        arguments = [*CLICKHOUSE, "data", str(self.clickhouse_port)]
        self.clickhouse = stack.enter_context(Program(arguments, directory / "clickhouse", {}, "Uvicorn running"))
        self.clickhouse.start().await_ready()
        self.store = Store.server("127.0.0.1", self.clickhouse_port, "tocsin", "", False, "tocsin")
        stack.callback(self.store.close)
        self.store.migrate()
        self.gateway = self.service("gateway")
        self.workers = {role: self.service(role) for role in ROLES}
        self.second_score = self.service("score", copy=2)
        self.second_respond = self.service("respond", copy=2)
        self.start()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._gateway_port}",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30,
        )
        stack.callback(self.client.close)

    def start(self) -> None:
        for program in self.programs:
            program.start()
        for program in self.programs:
            program.await_ready()

    @property
    def programs(self) -> list[Program]:
        return [self.gateway, *self.workers.values()]

    def settings(self, name: str) -> dict[str, str]:
        """A service's variables as docker-compose.yml gives them, filled in."""

        def filled_in(value: str) -> str:
            return re.sub(r"\$\{(\w+)(?::[?-]([^}]*))?\}", lambda found: self._secrets.get(found[1], found[2]), value)

        named = {variable: filled_in(value) for variable, value in SERVICES[name]["environment"].items()}
        return named | self._places | {"TOCSIN_DATA_DIRECTORY": "data"}

    def service(self, name: str, copy: int = 1) -> Program:
        """A service, not started yet."""
        command = [*TOCSIN, *SERVICES[name]["command"][1:]]
        settings = self.settings(name) | {"TOCSIN_WORKER__PORT": str(free_port())}
        program = Program(command, self.directory / f"{name}{copy}", settings, ready=" runs ")
        return self._stack.enter_context(program)

    def publish(self, interactions: Sequence[dict[str, Any]]) -> None:
        for begin in range(0, len(interactions), BATCH):
            answer = self.client.post("/v1/interactions", json=interactions[begin : begin + BATCH])
            assert answer.status_code == 202, answer.text

    def publish_pages(self, pages: Sequence[Page]) -> None:
        """As the watch stage does."""

        async def run() -> None:
            async with Publisher(self._places["TOCSIN_BROKER__BOOTSTRAP"]) as publisher:
                await publisher.publish(PAGES, [(each.application, each) for each in pages])

        asyncio.run(run())

    def count(self, sql: str) -> int:
        return int(self.store.query(f"SELECT count() AS n FROM {sql}")[0]["n"])

    def audit(self) -> dict[str, int]:
        """What the gateway says has become of every message."""
        answer = self.client.get("/v1/audit")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["total"])

    def settle(self) -> None:
        """Wait until everything is dealt with, twice: what one stage has may be on its way to the next."""
        for _ in range(2):
            until(lambda: self.audit()["waiting"] == 0, "everything is dealt with")
        until(lambda: not self.store.query(UNDELIVERED)[0]["n"], "everybody is told")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture(scope="module")
def production(kafka: str, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Production]:
    _without_topics(kafka)
    with ExitStack() as stack:
        yield Production(tmp_path_factory.mktemp("production"), kafka, receiver, stack)


def _without_topics(kafka: str) -> None:
    """Other tests share the broker; what they left in our topics is no concern of these."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    there = set(admin.list_topics()) & set(TOPICS)
    if there:
        admin.delete_topics(list(there))
    until(lambda: not set(admin.list_topics()) & set(TOPICS), "the topics are gone")
    admin.close()


def traffic(count: int, changed: int, name: str = "first") -> list[dict[str, Any]]:
    """Ordinary requests, the last of them insulting, over thirty days that end now."""
    dice, now = random.Random(0), datetime.now(UTC)
    found = []
    for i in range(count):
        verb, thing = dice.choice(VERBS), dice.choice(THINGS)
        prompt = f"{dice.choice(OPENINGS)} {verb} {thing} {dice.choice(WHEN)}{dice.choice(ENDS)}"
        if i >= count - changed:
            prompt = f"{dice.choice(INSULTS).capitalize()}, {verb} {thing} yourself, {dice.choice(INSULTS)}!"
        response = f"To {verb} {thing}, go to page {dice.randrange(500)} {dice.choice(WHEN)}."
        found.append(
            {
                "interaction_id": f"{name}-{i}",
                "application": "shop",
                "occurred_at": (now - timedelta(days=30) * (1 - (i + 1) / count)).isoformat(),
                "prompt": prompt,
                "response": response,
                "latency_ms": dice.lognormvariate(6, 0.5),
            }
        )
    return found


def assert_each_is_stored_once(production: Production, published: int) -> None:
    """By the command line's audit, which reaches broker and store by itself, and by the rows."""
    answer = tocsin("audit", "--json", directory=production.directory, settings=production.settings("score"))
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    topic = [each for each in found["partitions"] if each["topic"] == INTERACTIONS]
    assert sum(each["produced"] for each in topic) == sum(each["stored"] for each in topic) == published
    expected = {"lost": 0, "waiting": 0, "dead_lettered": 0, "duplicate": 0, "stored": found["total"]["produced"]}
    assert found["total"].items() >= expected.items()
    assert production.count("interactions") == production.count("interactions FINAL") == published


def assert_everybody_was_told_once(production: Production, receiver: Receiver) -> None:
    pages = {row["page_id"] for row in production.store.query("SELECT page_id FROM pages FINAL")}
    incidents = production.store.query("SELECT page_ids FROM incidents FINAL")
    notifications = production.store.query("SELECT notification_id, state FROM notifications FINAL")
    assert pages
    assert pages == {page for row in incidents for page in row["page_ids"]}
    assert {row["state"] for row in notifications} == {"sent"}
    assert receiver.told == Counter(pages)
    assert receiver.ids == Counter(row["notification_id"] for row in notifications)


def test_nothing_is_lost_or_told_twice_when_workers_are_killed_and_join(
    production: Production, receiver: Receiver
) -> None:
    interactions = traffic(ORDINARY + CHANGED, CHANGED)
    score, watch = production.workers["score"], production.workers["watch"]
    production.publish(interactions[:1_500])
    until(lambda: production.count("interactions") > 300, "some are stored")
    score.kill()
    production.publish(interactions[1_500:])
    score.start()
    until(lambda: production.count("interactions") > 900, "the restarted worker goes on")
    production.second_score.start()
    until(lambda: production.count("references FINAL") > 0, "the reference is learned")
    watch.kill()
    watch.start()
    production.settle()
    assert_each_is_stored_once(production, len(interactions))
    assert_everybody_was_told_once(production, receiver)


def test_each_process_ends_at_once_when_asked_and_loses_nothing(production: Production, receiver: Receiver) -> None:
    before = production.count("interactions")
    production.publish(traffic(600, 0, name="more"))
    until(lambda: production.count("interactions") > before, "some are stored")
    assert_ends_at_once(production.second_score)
    os.kill(production.clickhouse.pid, signal.SIGSTOP)  # it takes connections, and answers nothing any more
    production.publish(traffic(200, 0, name="meanwhile"))
    for program in production.programs:
        assert_ends_at_once(program)

    production.clickhouse.kill()
    production.clickhouse.start().await_ready()
    production.start()
    production.settle()
    assert_each_is_stored_once(production, before + 800)
    assert_everybody_was_told_once(production, receiver)


def test_a_worker_that_joins_while_the_store_is_away_takes_over_from_one_that_is_killed(production: Production) -> None:
    before = production.count("interactions")
    first, second = production.workers["score"], production.second_score
    second.start()
    production.publish(traffic(600, 0, name="both"))
    until(lambda: production.count("interactions") > before, "some are stored")
    second.await_ready()
    production.clickhouse.kill()  # what both have in hand waits, and so does the rebalance
    production.publish(traffic(200, 0, name="refused"))
    until(lambda: "not stored yet" in first.said(), "the first one waits for the store")
    first.kill()
    until(lambda: "not stored yet" in second.said(), "the second one has its partitions, and waits")
    production.clickhouse.start().await_ready()
    production.settle()
    assert_each_is_stored_once(production, before + 800)


def test_of_two_respond_workers_one_tells_and_the_other_takes_over_when_it_is_killed_or_hangs(
    production: Production, receiver: Receiver
) -> None:
    first, second = production.workers["respond"], production.second_respond
    told = len(receiver.arrived)

    def happens(name: str) -> None:
        """Something changes in six applications at once, so in six incidents."""
        pages = [page(f"{name} {number}") for number in range(6)]
        production.publish_pages(pages)
        until(lambda: receiver.told >= Counter(each.page_id for each in pages), "everybody is told")

    second.start()
    second.await_ready()
    happens("both run")
    assert LEADS in first.said() and LEADS not in second.said()
    production.settle()  # it has written down what it sent
    first.kill()
    happens("the first one is dead")
    assert LEADS in second.said()
    first.start()
    first.await_ready()
    happens("both run again")
    production.settle()
    os.kill(second.pid, signal.SIGSTOP)
    happens("the second one hangs")
    os.kill(second.pid, signal.SIGCONT)
    happens("the second one goes on, and leads no more")
    production.settle()
    arrived = Counter(name for name, _ in receiver.arrived[told:])
    assert set(arrived.values()) == {1}
    assert production.count("notifications FINAL") == len(receiver.ids)
    assert_ends_at_once(second)


def assert_ends_at_once(program: Program) -> None:
    code, seconds = program.stop()
    assert code == 0, program.said()
    assert "Traceback" not in program.said()
    assert seconds < STOP_SECONDS, program.said()
