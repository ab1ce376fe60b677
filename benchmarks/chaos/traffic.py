"""What is published: two applications, requests that become code, repeats, disorder, wrong times and nonsense."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from kafka import KafkaProducer
from kafka.errors import KafkaError

import tocsin
from benchmarks.chaos.system import MOST_BYTES, REFERENCE_UNITS
from tocsin.contracts import Interaction
from tocsin.messages import INTERACTIONS
from tocsin.transports import Message, message_of

Line = dict[str, Any]
MARK = "quokka"
"""A word of every text: it must be in no log."""

SPAN = timedelta(days=30)
BATCH = 50
SECOND_APPLICATION = 0.15
BY_LIBRARY = 0.2  # of the batches; the rest goes through the gateway
REPEATED = 0.05
MISTIMED = 0.02
OPERATOR_SECONDS = 5.0
OPENINGS = ("How do I", "Can you help me to", "I would like to", "Please tell me how to", "What is the best way to")
VERBS = ("return", "repair", "exchange", "order", "assemble", "cancel", "track", "clean", "insure", "compare")
THINGS = ("a bicycle", "the blue lamp", "my laptop", "a garden chair", "two tickets", "the coffee machine", "a jacket")
WHEN = ("before Friday", "without a receipt", "from abroad", "for my mother", "at the shop in town", "as a gift")
CODE = ("def {a}({b}): return {b}[{n}]", "for {a} in range({n}): print({b})", "SELECT {a} FROM {b} WHERE id = {n};")
NAMES = ("alpha", "beta", "rows", "total", "index", "buffer", "value", "node", "key", "users")


def interactions(count: int, seed: int, until: datetime) -> list[Line]:
    """Interactions of 30 days that end then, nearly in order; from a place behind the reference on, many are code.

    The two applications use the same ids. Some sections have clocks of their own, days behind or minutes ahead.
    """
    dice = random.Random(seed)
    numbers = {"shop": 0, "bank": 0}
    changes = max(int(0.6 * count * (1 - SECOND_APPLICATION)), int(1.2 * REFERENCE_UNITS))
    found, wrong = [], timedelta()
    for at in range(count):
        if at % 100 == 0:
            wrong = timedelta(days=-3 * dice.random()) if dice.random() < MISTIMED * 5 else timedelta()
        name = "bank" if dice.random() < SECOND_APPLICATION else "shop"
        numbers[name] += 1
        code = name == "shop" and numbers[name] > changes and dice.random() < 0.4
        occurred = until - SPAN * (1 - (at + dice.uniform(0, 20)) / (count + 20)) + wrong
        found.append(interaction(dice, name, numbers[name], code, occurred))
    return found


def interaction(dice: random.Random, application: str, number: int, code: bool, occurred: datetime) -> Line:
    """One of them."""
    order = dice.randrange(10**9)
    verb, thing = dice.choice(VERBS), dice.choice(THINGS)
    prompt = f"{dice.choice(OPENINGS)} {verb} {thing} {dice.choice(WHEN)}, order {order} of {MARK}?"
    if code:
        prompt = f"{MARK} " + " ".join(
            dice.choice(CODE).format(a=dice.choice(NAMES), b=dice.choice(NAMES), n=dice.randrange(100))
            for _ in range(3)
        )
    said = f"To {verb} {thing}, turn to page {dice.randrange(500)} {dice.choice(WHEN)}, {MARK} {order}. "
    return {
        "interaction_id": f"i-{number}",
        "application": application,
        "occurred_at": occurred.isoformat(),
        "prompt": prompt,
        "response": said * dice.randrange(1, 12),
        "latency_ms": dice.lognormvariate(6, 0.5),
        **({"session_id": f"s-{application}-{number // 3}"} if number % 10 == 0 else {}),
    }


def nonsense(dice: random.Random) -> bytes | None:
    """A message that nobody can read, in one of the ways in which that happens."""
    good = {"application": "shop", "prompt": MARK, "response": MARK}
    kinds: tuple[Callable[[], bytes | None], ...] = (
        lambda: b'{"application": "shop", "prompt": ',
        lambda: b"\xff\xfe" + dice.randbytes(50),
        lambda: None,
        lambda: json.dumps([good]).encode(),
        lambda: json.dumps(good | {"respones": MARK}).encode(),
        lambda: json.dumps(good | {"occurred_at": "yesterday"}).encode(),
        lambda: json.dumps(good | {"occurred_at": "1970-01-01T00:00:00Z"}).encode(),
        lambda: json.dumps(good | {"occurred_at": "9999-01-01T00:00:00Z"}).encode(),
        lambda: json.dumps(good | {"schema_version": 99}).encode(),
        lambda: json.dumps(good | {"prompt": MARK * (MOST_BYTES // len(MARK))}).encode(),
        lambda: b"[" * 50_000,
    )
    return dice.choice(kinds)()


@dataclass
class Load:
    """Publishes until all of it is acknowledged, in the time that it is given.

    Attributes:
        acknowledged: (application, id) of every interaction that somebody promised to keep.
        nonsense: acknowledged messages that nobody can read.
        requests: that the gateway answered with 202.
        refused: tries that failed and were made again.
        resolved: incidents that the operator closed, which arms the streams again.
    """

    url: str
    bootstrap: str
    lines: Sequence[Line]
    seconds: float
    seed: int
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    nonsense: int = 0
    requests: int = 0
    refused: int = 0
    resolved: int = 0
    failure: str = ""

    def __post_init__(self) -> None:
        self._threads = [
            threading.Thread(target=self._work, args=[work], name=work.__name__, daemon=True)
            for work in (self._through_the_gateway, self._through_the_library, self._straight_to_the_broker)
        ]
        self._finished = threading.Event()
        self._operator = threading.Thread(target=self._resolve_incidents, daemon=True)
        batches = [self.lines[start : start + BATCH] for start in range(0, len(self.lines), BATCH)]
        dice = random.Random(self.seed)
        by_library = {at for at in range(len(batches)) if dice.random() < BY_LIBRARY}
        self._library = [batch for at, batch in enumerate(batches) if at in by_library]
        self._gateway = [batch for at, batch in enumerate(batches) if at not in by_library]

    def start(self) -> None:
        """Begin."""
        for thread in (*self._threads, self._operator):
            thread.start()

    def finish(self, seconds: float) -> None:
        """Wait until all is acknowledged."""
        deadline = time.monotonic() + seconds
        while alive := [thread for thread in self._threads if thread.is_alive()]:
            assert not self.failure, self.failure
            assert time.monotonic() < deadline, f"the load does not end: {alive}"
            alive[0].join(1)
        self._finished.set()
        self._operator.join()
        assert not self.failure, self.failure

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  whatever ends a producer is the finding
            self.failure = f"{work.__name__}: {type(error).__name__}: {error}"

    def _through_the_gateway(self) -> None:
        dice = random.Random(self.seed + 1)
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for batch in self._paced(self._gateway):
                for _ in range(2 if dice.random() < REPEATED else 1):
                    self._publish(client, batch)

    def _publish(self, client: httpx.Client, batch: Sequence[Line]) -> None:
        while not self._accepted(client, batch):
            self.refused += 1
            time.sleep(0.1)
        self.requests += 1
        self._note(batch)

    def _note(self, batch: Sequence[Line]) -> None:
        self.acknowledged.update((line["application"], line["interaction_id"]) for line in batch)

    def _accepted(self, client: httpx.Client, batch: Sequence[Line]) -> bool:
        try:
            return client.post("/v1/interactions", json=batch).status_code == 202
        except httpx.TransportError:
            return False

    def _through_the_library(self) -> None:
        with tocsin.Client("shop", bootstrap=self.bootstrap, queue_size=len(self.lines) + 1) as client:
            for batch in self._paced(self._library):
                for line in batch:
                    client.publish(**line | {"occurred_at": datetime.fromisoformat(line["occurred_at"])})
            delivered, stats = client.flush(300), client.stats
            assert delivered and not (stats.dropped or stats.invalid or stats.refused), stats
        for batch in self._library:
            self._note(batch)

    def _straight_to_the_broker(self) -> None:
        """Nonsense, and interactions again that were published before, by another road and in another order."""
        dice = random.Random(self.seed + 2)
        producer = None
        for number in self._paced(range(len(self.lines) // 100)):
            again = dice.sample(self.lines[: 1 + number * 80], k=min(3, 1 + number * 80))
            messages = [(b"shop", nonsense(dice)), (b"bank", nonsense(dice))]
            messages += [(message.key, message.value) for message in map(_message, again)]
            try:
                producer = producer or KafkaProducer(
                    bootstrap_servers=self.bootstrap.split(","), acks="all", enable_idempotence=False
                )
                for key, value in messages:
                    producer.send(INTERACTIONS, value, key=key).get(10)
                self.nonsense += 2
            except KafkaError:
                self.refused += 1
        if producer is not None:
            producer.close(5)

    def _resolve_incidents(self) -> None:
        """What arms the streams again, so that more pages come."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._finished.wait(OPERATOR_SECONDS):
                try:
                    sql = "SELECT incident_id FROM incidents FINAL WHERE state != 'resolved'"
                    for row in client.post("/v1/sql", content=sql).raise_for_status().json():
                        client.post("/v1/commands", json={"kind": "resolve", "incident_id": row["incident_id"]})
                        self.resolved += 1
                except httpx.HTTPError:
                    continue

    def _paced(self, work: Sequence[Any]) -> Iterator[Any]:
        """Evenly over the time; what is late follows at once."""
        began = time.monotonic()
        for number, each in enumerate(work):
            time.sleep(max(0.0, began + self.seconds * number / len(work) - time.monotonic()))
            yield each


def _message(line: Line) -> Message:
    return message_of(Interaction.model_validate(line))


def until_now() -> datetime:
    """The end of the traffic's thirty days."""
    return datetime.now(UTC)
