"""Apache Kafka (KRaft, each node broker and controller) for tests: one node, or three that copy each other.

The jars are those of the folder `../shared/kafka` beside the repository, where there is one, else of KAFKA_HOME.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from streams.engines.broker import free_port

START_SECONDS = 90
STOP_SECONDS = 30
CLUSTER_ID = "dG9jc2luLXRlc3RzLWthZg"
HEAP = "384m"


def _libraries() -> Path | None:
    places = [Path(__file__).parents[2] / "shared" / "kafka", Path(os.environ.get("KAFKA_HOME", "/opt/kafka"))]
    return next((place / "libs" for place in places if (place / "libs").is_dir()), None)


class KafkaCluster:
    """Nodes 1 to `brokers` on loopback, running from `with` to the end of its block; a test without Kafka is skipped.

    With three, a topic has three copies by default and a write is acknowledged by two. Topics are not created by
    themselves. What is in `directory` stays, so that a node that is started again goes on with its data.
    """

    def __init__(self, directory: Path, brokers: int = 1) -> None:
        java, libraries = shutil.which("java"), _libraries()
        if java is None or libraries is None:
            pytest.skip("Apache Kafka is missing: it needs Java, and ../shared/kafka or KAFKA_HOME")
        # stopping at the first compiler starts faster, and the tests are over before the second one pays
        jvm = [f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self._run = [java, "-cp", f"{libraries}/*", *jvm]
        self._directory, self._brokers = directory, range(1, brokers + 1)
        ports: set[int] = set()
        while len(ports) < 2 * brokers:
            ports.add(free_port())
        self._ports = dict(zip(self._brokers, sorted(ports)[:brokers], strict=True))
        self._controllers = dict(zip(self._brokers, sorted(ports)[brokers:], strict=True))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        """Where clients connect: host:port, several separated by commas."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def __enter__(self) -> Self:
        try:
            for number in self._brokers:
                self._format(number)
                self._launch(number)
            for number in self._brokers:
                self._await(number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._processes:
            self.kill(number)

    def start(self, number: int) -> None:
        """Start a node that is down, and wait until it serves; one that runs is left alone."""
        if not self.runs(number):
            self._launch(number)
            self._await(number)

    def kill(self, number: int) -> None:
        """`kill -9` of a node."""
        self._processes[number].kill()
        self._processes[number].wait()

    def stop(self, number: int) -> None:
        """Ask a node to end in good order."""
        self._processes[number].send_signal(signal.SIGTERM)
        self._processes[number].wait(STOP_SECONDS)

    def runs(self, number: int) -> bool:
        """Whether a node has been started and has not ended."""
        return number in self._processes and self._processes[number].poll() is None

    def _format(self, number: int) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._configuration(number).write_text(self._properties(number))
        if not (self._data(number) / "meta.properties").exists():
            tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._configuration(number))]
            subprocess.run([*self._run, *tool], check=True, capture_output=True, timeout=START_SECONDS)

    def _launch(self, number: int) -> None:
        with self._log(number).open("ab") as log:
            command = [*self._run, "kafka.Kafka", str(self._configuration(number))]
            self._processes[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _await(self, number: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.runs(number):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._ports[number])) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"Apache Kafka node {number} does not serve: {self._log(number).read_text()[-2000:]}")

    def _configuration(self, number: int) -> Path:
        return self._directory / f"{number}.properties"

    def _data(self, number: int) -> Path:
        return self._directory / f"{number}"

    def _log(self, number: int) -> Path:
        return self._directory / f"{number}.log"

    def _properties(self, number: int) -> str:
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._controllers.items())
        port, controller = self._ports[number], self._controllers[number]
        copies = min(len(self._brokers), 3)
        insync = 2 if copies == 3 else 1
        return f"""
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={self._data(number)}
default.replication.factor={copies}
min.insync.replicas={insync}
offsets.topic.num.partitions=1
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={insync}
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.segment.bytes=16777216
num.network.threads=2
num.io.threads=2
"""
