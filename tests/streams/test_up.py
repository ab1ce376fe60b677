"""`tocsin up` as a person runs it: killed, stopped, started wrongly, and fed what nobody should publish."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka import KafkaProducer

from streams.engines.broker import free_port
from tests.program import TOCSIN, Program, tocsin, until
from tocsin.messages import INTERACTIONS

pytestmark = pytest.mark.integration

STOP_SECONDS = 5
COUNT = 400


class System:
    """`tocsin up` and what is asked of it over HTTP."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        command = [*TOCSIN, "up", "--port", str(self.port)]
        self.program = Program(command, directory, {"TOCSIN_DISK_FREE_BYTES": "0"}, ready="tocsin is up")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def start(self) -> System:
        self.program.start().await_ready()
        return self

    def sql(self, query: str) -> list[dict[str, Any]]:
        answer = self.client.post("/v1/sql", content=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def audit(self) -> dict[str, int]:
        answer = self.client.get("/v1/audit")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        mine = [each for each in found["partitions"] if each["topic"] == INTERACTIONS]
        return {name: sum(each[name] for each in mine) for name in found["total"]}

    def settle(self) -> dict[str, int]:
        """Wait until every interaction is dealt with; the audit of their topic."""
        until(lambda: self.audit()["waiting"] == 0, "everything is dealt with")
        return self.audit()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    started = System(tmp_path_factory.mktemp("up"))
    with started.program, started.client:
        yield started.start()


def interaction(number: int, **changes: object) -> dict[str, object]:
    return {
        "interaction_id": f"i-{number}",
        "application": "shop",
        "occurred_at": datetime.now(UTC).isoformat(),
        "prompt": f"What does article {number} cost?",
        "response": f"It costs {number} euros.",
        **changes,
    }


def test_everything_that_it_keeps_is_in_the_data_directory(system: System) -> None:
    assert {path.name for path in system.directory.iterdir()} <= {"data", "log"}


def test_what_was_acknowledged_survives_a_kill_of_everything_and_is_stored_once(tmp_path: Path) -> None:
    system = System(tmp_path)
    with system.program, system.client:
        system.start()
        publishing = threading.Thread(target=publish_until_acknowledged, args=(system.client, COUNT))
        publishing.start()
        until(lambda: system.audit()["stored"] > 0, "some are stored")
        system.program.kill()
        system.start()
        publishing.join(120)
        # what came while the broker was not there yet is in the gateway's spool first
        until(lambda: system.audit()["stored"] == COUNT, "what was acknowledged is stored")
        found = system.settle()
        # a request whose answer the kill cut off is sent again, and is known by its ids
        assert (found["lost"], found["dead_lettered"], found["stored"]) == (0, 0, COUNT)
        assert found["produced"] == found["stored"] + found["duplicate"]
        (rows,) = system.sql("SELECT count() AS rows, uniqExact(interaction_id) AS ids FROM interactions")
        assert rows == {"rows": COUNT, "ids": COUNT}
        code, seconds = system.program.stop(signal.SIGINT)
        assert (code, "Traceback" in system.program.said()) == (0, False), system.program.said()
        assert seconds < STOP_SECONDS
        answer = tocsin("audit", "--json", directory=tmp_path)
        assert json.loads(answer.stdout)["total"]["lost"] == 0, answer.stderr


def publish_until_acknowledged(client: httpx.Client, count: int) -> None:
    """As a client that sends a request again until it is acknowledged."""
    for begin in range(0, count, 20):
        batch = [interaction(number) for number in range(begin, begin + 20)]
        while not acknowledged(client, batch):
            time.sleep(0.1)


def acknowledged(client: httpx.Client, batch: list[dict[str, object]]) -> bool:
    try:
        return client.post("/v1/interactions", json=batch).status_code == 202
    except httpx.TransportError:
        return False


def raw(*values: Mapping[str, object] | bytes | None) -> list[bytes | None]:
    return [value if value is None or isinstance(value, bytes) else json.dumps(value).encode() for value in values]


EARLIER = datetime.now(UTC) - timedelta(hours=3)
DICE = random.Random(0)
DEAD: dict[str, list[bytes | None]] = {
    "empty": raw(b"", None),
    "not_json": [
        *raw(b"{", b"\xff\xfe\x00\x01", b'{"application": NaN}', b"[" * 100_000),
        json.dumps(interaction(0, prompt="lone \ud800 surrogate")).encode(),
        json.dumps(interaction(0), ensure_ascii=False).replace("cost", "\ud800").encode(errors="surrogatepass"),
        *(b"\x80" + DICE.randbytes(DICE.randrange(200)) for _ in range(50)),
    ],
    "not_an_object": raw(b"[]", b'"text"', b"1"),
    "unknown_version": raw(interaction(0, schema_version=99), interaction(0, schema_version="1")),
    "schema": raw(
        b"{}",
        interaction(0, prompt=None),
        interaction(0, respones="misspelt"),
        interaction(0, occurred_at="yesterday"),
        interaction(0, occurred_at="2026-01-01T00:00:00"),
        interaction(0, occurred_at="9999-12-31T23:59:59-12:00"),
        interaction(0, latency_ms=-1),
        interaction(0, interaction_id="x" * 201),
    ),
    "future": raw(interaction(0, occurred_at="9999-01-01T00:00:00Z")),
    "too_old": raw(interaction(0, occurred_at="1970-01-01T00:00:00Z")),
    "too_large": raw(interaction(0, prompt="x" * 1_100_000)),
}
GOOD = [
    *(interaction(1_000 + number) for number in range(20)),
    interaction(2_000, prompt="", response=""),
    interaction(2_001, prompt=[]),
    interaction(2_002, prompt="x" * 900_000),
    interaction(2_003, prompt="\u0000 \u202e 🦜" * 50, response="\ufffe", application="\u0000"),
    interaction(3_000, occurred_at=EARLIER.isoformat()),
    interaction(3_000, occurred_at=(EARLIER + timedelta(hours=1)).isoformat()),
]
REPEATED = [interaction(3_000, occurred_at=EARLIER.isoformat())] * 3


def test_bad_messages_are_kept_with_their_reason_and_stop_nothing(system: System) -> None:
    before = system.settle()
    values = [value for group in DEAD.values() for value in group] + raw(*GOOD)
    DICE.shuffle(values)
    publish(system, values + raw(*REPEATED))
    answer = system.client.post("/v1/interactions", json=interaction(4_000, prompt="x" * 5_000_000))
    publish(system, raw(interaction(5_000)))
    after = system.settle()

    dead = sum(map(len, DEAD.values()))
    letters = {
        row["reason"]: int(row["n"])
        for row in system.sql("SELECT reason, count() AS n FROM dead_letters FINAL GROUP BY reason")
    }
    assert answer.status_code == 413, answer.text
    assert letters == {reason: len(group) for reason, group in DEAD.items()}
    assert {name: after[name] - before[name] for name in after} == {
        "produced": dead + len(GOOD) + len(REPEATED) + 1,
        "stored": len(GOOD) + 1,
        "dead_lettered": dead,
        "duplicate": len(REPEATED),
        "waiting": 0,
        "lost": 0,
    }
    rows = system.sql("SELECT interaction_id AS id, flags FROM interactions FINAL")
    flags = {row["id"]: set(row["flags"]) for row in rows}
    assert flags["i-2000"] >= {"prompt.empty", "response.empty"}
    assert flags["i-2001"] >= {"prompt.empty"}
    assert flags["i-2002"] >= {"cut"}
    assert [row["flags"] for row in rows if row["id"] == "i-3000"] in ([[], ["id_conflict"]], [["id_conflict"], []])
    assert flags["i-5000"] == flags["i-1000"] == set()


def publish(system: System, values: list[bytes | None]) -> None:
    """Publish raw bytes as any Kafka client may, to one partition and so in order."""
    bootstrap = json.loads((system.directory / "data" / "running.json").read_bytes())["bootstrap"]
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=False, max_request_size=4_000_000
    )
    sent = [producer.send(INTERACTIONS, value, key=b"shop", partition=0) for value in values]
    producer.flush(60)
    assert all(future.succeeded() for future in sent)
    producer.close()


def assert_refused(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert answer.returncode == code, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("tocsin starts")]
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("tocsin: ")
    for word in words:
        assert word in lines[0]


def test_a_second_process_on_the_same_data_is_told_who_has_it(system: System) -> None:
    assert_refused(tocsin("up", "--port", "0", directory=system.directory), 1, "data is in use by process")
    assert system.client.get("/healthz").status_code == 200


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(tocsin("up", "--port", port, directory=tmp_path), 1, port, "in use")


@pytest.mark.parametrize("directory", ["/proc/nowhere", "a-file/data"])
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, directory: str) -> None:
    (tmp_path / "a-file").touch()
    assert_refused(tocsin("up", "--port", "0", "--data", directory, directory=tmp_path), 1, directory)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gateway]\nprot = 1", "gateway.prot"),
        ("[broker]\npartitions = 'x'", "broker.partitions"),
        ("[gateway]\nhost = '0.0.0.0'", "gateway.keys"),
        ("[watch]\nreference_units = 10", "watch.reference_units"),
        ("[notification]\nurls = ['nonsense']", "notification.urls"),
        ("[retraining]\ntarget = 'command'", "retraining.command"),
        ("not toml", "tocsin.toml"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_field_at_fault(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "tocsin.toml").write_text(text)
    assert_refused(tocsin("up", "--port", "0", directory=tmp_path), 2, words)


def test_a_worker_without_a_server_to_work_with_is_refused(tmp_path: Path) -> None:
    assert_refused(tocsin("worker", "score", directory=tmp_path), 2, "broker.bootstrap", "clickhouse.host")


def test_a_clickhouse_that_does_not_answer_is_named(tmp_path: Path) -> None:
    away = {"TOCSIN_CLICKHOUSE__HOST": "127.0.0.1", "TOCSIN_CLICKHOUSE__PORT": "1"}
    assert_refused(tocsin("up", directory=tmp_path, settings=away), 1, "ClickHouse at 127.0.0.1:1")
