"""A service that spools: what it published outlives outages, kills, forks and full disks."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.engines.broker import EmbeddedBroker, free_port
from streams.settings import Broker
from streams.topics import ensure_topics
from tocsin import Client
from tocsin.spool import Spool

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lines(spool: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in spool.glob("*/*.spool"))


def killed(program: str) -> None:
    """Run a service until it says that it is to be killed."""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == b"now\n"
        service.kill()


def test_what_a_killed_service_left_is_delivered_in_order_when_it_starts_again(spool: Path, server: Any) -> None:
    killed(f"""
import time, tocsin
client = tocsin.Client("shop", url="{NOWHERE}", spool_directory={str(spool)!r})
for i in range(1_000):
    client.publish(f"q{{i}}", "a")
while client.stats.spooled < 1_000:
    time.sleep(0.01)
print("now", flush=True)
time.sleep(60)
""")
    with Client("shop", url=server.url, spool_directory=spool) as client:  # without a word of its own
        until(lambda: len(server.received) == 1_000)
        client.publish("new", "a")
        assert client.flush(20)
        assert [one["prompt"] for one in server.received] == [f"q{i}" for i in range(1_000)] + ["new"]
        stats = client.stats
        assert (stats.recovered, stats.acknowledged, stats.spooled, stats.dropped) == (1_000, 1_001, 0, 0)
    assert list(spool.iterdir()) == []


def test_after_an_outage_what_waited_comes_before_what_is_newer(spool: Path, server: Any) -> None:
    server.answers.extend([(503, {})] * 4)
    with Client("shop", url=server.url, queue_size=300, spool_directory=spool) as client:
        for i in range(2_000):  # many more than the queue holds
            until(lambda: client.stats.queued < 300)
            assert client.publish(f"q{i}", "a" * 1_000)
        assert client.flush(60)
        assert client.stats.dropped == 0
    assert [one["prompt"] for one in server.received] == [f"q{i}" for i in range(2_000)]


def test_a_client_that_closes_in_an_outage_leaves_everything_to_the_next_one(spool: Path, server: Any) -> None:
    client = Client("shop", url=NOWHERE, spool_directory=spool)
    for i in range(700):
        client.publish(f"q{i}", "a")
    assert not client.close(timeout=0)
    assert (client.stats.spooled, client.stats.queued, client.stats.dropped) == (700, 0, 0)
    assert client.publish("late", "a") is None
    until(Spool(spool, 1_000_000).orphaned)
    with Client("shop", url=server.url, spool_directory=spool):
        until(lambda: len(server.received) >= 700)
    assert {one["prompt"] for one in server.received} == {f"q{i}" for i in range(700)}


def test_a_service_that_exits_in_an_outage_leaves_everything_and_exits(spool: Path) -> None:
    program = f"""
import tocsin
client = tocsin.Client("shop", url="{NOWHERE}", spool_directory={str(spool)!r}, exit_timeout_seconds=0.1)
for i in range(777):
    client.publish("q", "a")
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert "Traceback" not in ended.stderr
    assert lines(spool) == 777


def test_a_full_spool_drops_the_oldest_and_every_call_is_accounted_for(spool: Path, server: Any) -> None:
    with Client("shop", url=NOWHERE, spool_directory=spool, spool_bytes=10_000_000, exit_timeout_seconds=0) as client:
        for i in range(1_500):
            client.publish(f"q{i}", "x" * 10_000)
        until(lambda: client.stats.queued == 0)
        stats = client.stats
        assert stats.dropped + stats.spooled == 1_500
        assert sum(file.stat().st_size for file in spool.glob("*/*.spool")) <= 10_000_000
    until(Spool(spool, 1_000_000).orphaned)
    stats = client.stats
    assert stats.dropped + stats.spooled == 1_500
    with Client("shop", url=server.url, spool_directory=spool) as client:
        until(lambda: client.stats.recovered)
        assert client.flush(20)
    kept = [int(one["prompt"][1:]) for one in server.received]
    assert len(kept) > 700
    assert kept == list(range(1_500 - stats.spooled, 1_500))


def test_a_disk_that_takes_nothing_costs_nothing_while_the_gateway_answers(
    tmp_path: Path, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tocsin")
    (tmp_path / "file").write_text("")
    with Client("shop", url=server.url, spool_directory=tmp_path / "file") as client:
        ids = [client.publish("secret", "a") for _ in range(1_200)]
        assert client.flush(20)
        assert client.stats.acknowledged == 1_200
    assert [one["interaction_id"] for one in server.received] == ids
    assert "cannot spool" in caplog.text
    assert "secret" not in caplog.text


def test_a_spool_that_is_too_small_to_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="spool_bytes"):
        Client("shop", url=NOWHERE, spool_directory="anywhere", spool_bytes=1_000)


def test_forked_children_spool_by_themselves_and_nobody_s_messages_come_twice(spool: Path, server: Any) -> None:
    """As a server with workers does it: with a message before the fork, and without."""
    for before in ("client.publish('before', 'a')", "pass"):
        server.posts.clear()
        killed(f"""
import os, time, tocsin
client = tocsin.Client("shop", url="{NOWHERE}", spool_directory={str(spool)!r})
{before}
children = []
for name in ("one", "two", "three"):
    child = os.fork()
    if child == 0:
        client.publish(name, "a")
        while client.stats.spooled < 1:
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
    children.append(child)
client.publish("parent", "a")
for child in children:
    os.waitpid(child, 0)
while client.stats.queued:
    time.sleep(0.01)
print("now", flush=True)
time.sleep(60)
""")
        expected = {"one", "two", "three", "parent"} | ({"before"} if before != "pass" else set())
        with Client("shop", url=server.url, spool_directory=spool) as client:
            until(partial(_arrived, server, len(expected)))
            assert client.flush(20)
        assert sorted(one["prompt"] for one in server.received) == sorted(expected)


def _arrived(server: Any, count: int) -> bool:
    return len(server.received) >= count


SERVICE = """
import os, tocsin
client = tocsin.Client("shop", url={url!r}, spool_directory={spool!r})
client.publish("at import", "a")

def service(environ, start_response):
    client.publish(environ["PATH_INFO"][1:], "a")
    start_response("200 OK", [("Content-Length", str(len(str(os.getpid()))))])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def gunicorn(tmp_path: Path, spool: Path, server: Any) -> Iterator[str]:
    """A service of two workers that are forked after the client was made and used; its address."""
    (tmp_path / "shop.py").write_text(SERVICE.format(url=server.url, spool=str(spool)))
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", "--bind", address, "shop:service"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            until(lambda: _answers(f"http://{address}/hello"))
            yield f"http://{address}"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_workers_of_gunicorn_that_are_killed_lose_nothing(gunicorn: str, server: Any, spool: Path) -> None:
    server.answers.extend([(503, {})] * 6)
    sent, workers = [], set[int]()
    for i in range(60):
        sent.append(f"r{i}")
        workers.add(int(httpx.get(f"{gunicorn}/r{i}").text))
    time.sleep(0.3)  # what is in memory for a moment is lost by a kill; see docs/publishing.md
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    until(lambda: _answers(f"{gunicorn}/again"))  # a new worker, which takes over with its first message
    until(lambda: set(sent) <= {one["prompt"] for one in server.received})
    assert [one["prompt"] for one in server.received].count("at import") == 1


def test_threads_and_coroutines_publish_through_a_spool_and_all_of_it_arrives_once(spool: Path, server: Any) -> None:
    with Client("shop", url=server.url, spool_directory=spool) as client:

        async def answer(number: int) -> None:
            await asyncio.sleep(0)
            client.publish(f"c{number}", "a")

        async def serve() -> None:
            await asyncio.gather(*(answer(number) for number in range(500)))

        threads = [
            threading.Thread(target=lambda name=name: [client.publish(f"t{name}.{i}", "a") for i in range(100)])
            for name in range(5)
        ]
        for thread in threads:
            thread.start()
        asyncio.run(serve())
        for thread in threads:
            thread.join()
        assert client.flush(30)
    prompts = [one["prompt"] for one in server.received]
    assert len(prompts) == len(set(prompts)) == 1_000


@pytest.mark.integration
def test_a_service_killed_while_the_broker_is_away_is_made_up_for_when_both_are_back(
    tmp_path: Path, spool: Path, stored: Callable[[str, str, str, int], list[Any]]
) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    killed(f"""
import time, tocsin
client = tocsin.Client("shop", bootstrap="{address}", spool_directory={str(spool)!r})
for i in range(3_000):
    client.publish(f"q{{i}}", "a", session_id="s")
while client.stats.spooled < 3_000:
    time.sleep(0.01)
print("now", flush=True)
time.sleep(60)
""")
    with EmbeddedBroker(tmp_path / "broker", port):
        ensure_topics(Broker(bootstrap=address))
        with Client("shop", bootstrap=address, spool_directory=spool) as client:
            until(lambda: client.stats.recovered == 3_000)
            assert client.flush(60)
        found = [json.loads(record.value)["prompt"] for record in stored(address, "tocsin.interactions", "shop", 3_000)]
    assert found == [f"q{i}" for i in range(3_000)]
