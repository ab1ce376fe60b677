from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from streams.engines.broker import BrokerError, EmbeddedBroker, free_port
from streams.ownership import DirectoryInUse

pytestmark = pytest.mark.integration

SERVE = """
import sys, time
from pathlib import Path
from streams.engines.broker import EmbeddedBroker
with EmbeddedBroker(Path(sys.argv[1])) as broker:
    print(broker.bootstrap, flush=True)
    time.sleep(600)
"""
DEADLINE_SECONDS = 30


@contextmanager
def serving(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves a broker from `directory`; killed at the end of the block, if it is not by then."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def children(process_id: int) -> set[int]:
    tasks = Path(f"/proc/{process_id}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(process_ids: set[int]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(alive(process_id) for process_id in process_ids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def produce(bootstrap: str, topic: str, first: int, stop: int) -> None:
    """Send the numbers from `first` up to `stop` and wait until each is acknowledged."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=False, linger_ms=20, reconnect_backoff_max_ms=500
    )
    try:
        sent = [producer.send(topic, str(number).encode(), partition=number % 2) for number in range(first, stop)]
        for acknowledgement in sent:
            acknowledgement.get(DEADLINE_SECONDS)
    finally:
        producer.close()


def consume(bootstrap: str, topic: str, count: int, group: str | None = None) -> list[int]:
    """Read at least `count` messages from where the group is, or from the beginning."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        found: list[int] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(found) < count and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                found += [int(record.value) for record in records]
        return found
    finally:
        consumer.close()


def create(bootstrap: str, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    admin.close()


def commit(bootstrap: str, topic: str, group: str, offsets: tuple[int, int]) -> None:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    consumer.commit(
        {TopicPartition(topic, number): OffsetAndMetadata(offset, "", -1) for number, offset in enumerate(offsets)}
    )
    consumer.close()


def test_acknowledged_messages_and_group_offsets_survive_a_kill_of_everything(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, bootstrap):
        create(bootstrap, "numbers")
        produce(bootstrap, "numbers", 0, 20_000)
        commit(bootstrap, "numbers", "readers", (9_000, 8_000))
        programs = children(process.pid)
        assert len(programs) == 2
        for process_id in (*programs, process.pid):
            os.kill(process_id, signal.SIGKILL)
        process.wait()
        wait_until_gone(programs)
    with serving(tmp_path) as (_, bootstrap):
        assert sorted(consume(bootstrap, "numbers", 20_000)) == list(range(20_000))
        behind = consume(bootstrap, "numbers", 3_000, "readers")
        assert sorted(behind) == [*range(16_001, 18_000, 2), *range(18_000, 20_000)]
        produce(bootstrap, "numbers", 20_000, 20_010)
        assert sorted(consume(bootstrap, "numbers", 20_010)) == list(range(20_010))


def test_the_programs_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, _):
        programs = children(process.pid)
        process.kill()
        process.wait()
        wait_until_gone(programs)


@pytest.mark.parametrize("victims", ["the broker", "the object store", "both"])
def test_a_program_that_is_killed_is_started_again_on_the_same_address(tmp_path: Path, victims: str) -> None:
    with serving(tmp_path) as (process, bootstrap):
        create(bootstrap, "numbers")
        produce(bootstrap, "numbers", 0, 100)
        programs = children(process.pid)
        wanted = {"the broker": "tansu", "the object store": "streams.engines.object_store", "both": ""}[victims]
        for process_id in programs:
            if wanted in Path(f"/proc/{process_id}/cmdline").read_text():
                os.kill(process_id, signal.SIGKILL)
        wait_until_gone(programs)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                produce(bootstrap, "numbers", 100, 200)
                break
            except KafkaError:
                assert time.monotonic() < deadline
        assert set(range(200)) <= set(consume(bootstrap, "numbers", 200))


def test_a_second_process_is_told_who_owns_the_directory(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as (process, _),
        pytest.raises(DirectoryInUse, match=f"{tmp_path} is in use by process {process.pid}$"),
        EmbeddedBroker(tmp_path),
    ):
        pass


def test_after_a_stop_the_directory_and_the_port_are_free(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):
        with EmbeddedBroker(tmp_path, port) as broker:
            assert broker.bootstrap == f"127.0.0.1:{port}"


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"^port {port} of the embedded broker: Address already in use$"):
            EmbeddedBroker(tmp_path, port).__enter__()


def test_a_missing_program_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "nowhere"))
    with pytest.raises(BrokerError, match=r"no embedded broker is installed: .* or set broker\.bootstrap"):
        EmbeddedBroker(tmp_path).__enter__()


def test_a_program_that_does_not_serve_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho cannot go on\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setenv("CALF_TANSU_BIN", str(program))
    with pytest.raises(BrokerError, match=r"^embedded broker: cannot go on$"):
        EmbeddedBroker(tmp_path / "data").__enter__()


def test_what_it_writes_is_for_its_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "broker"
    with EmbeddedBroker(directory):
        assert directory.stat().st_mode & 0o077 == 0
