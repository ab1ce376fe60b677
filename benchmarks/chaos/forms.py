"""The two forms in which tocsin runs: all in one process, and every role a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from benchmarks.chaos.faults import Scenario
from benchmarks.chaos.processes import children_of, command_of
from benchmarks.chaos.system import DISK, System
from sinks.clickhouse import Store
from streams.engines.broker import free_port
from tests.kafka_cluster import KafkaCluster
from tests.program import CLICKHOUSE, TOCSIN

STUB = ("-m", "benchmarks.chaos.process")


class Together(System):
    """`tocsin up` with the embedded engines."""

    def _open(self) -> None:
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._configure(broker={"embedded_port": port})
        self._program("tocsin", (TOCSIN[0], *STUB, "up"))

    def _kill(self, target: str) -> None:
        if target == "tocsin":
            super()._kill(target)
            return
        words = {"broker": "--listener-url", "object-store": "streams.engines.object_store"}[target]
        for process in children_of(self._programs["tocsin"].pid):
            if words in command_of(process):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def _start(self, target: str) -> None:
        if target == "tocsin":
            super()._start(target)

    def store(self) -> Store:
        """Its own engine is gone with it: the directory is opened by an HTTP front."""
        data = str(self._directory / "tocsin" / "data" / "clickhouse")
        self._program("store", (*CLICKHOUSE, data, str(self._clickhouse_port)), "Uvicorn running")
        self._programs["store"].start().await_ready()
        return super().store()


class Apart(System):
    """Every role a process of its own, over Apache Kafka and the HTTP front of chDB, whose disk is a small one."""

    def _open(self) -> None:
        cluster = KafkaCluster(self._directory / "kafka", self._scenario.brokers)
        self._cluster = self._stack.enter_context(cluster)
        self._killed = 0
        self.bootstrap = cluster.bootstrap
        self._configure(
            broker={"bootstrap": self.bootstrap, "replication_factor": self._scenario.brokers},
            clickhouse={"host": "127.0.0.1", "port": self._clickhouse_port},
        )
        self._disk.mkdir(parents=True)
        if any(fault.act == "disk" for fault in self._scenario.faults):
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self._disk)], check=True)
            self._stack.callback(subprocess.run, ["umount", "--lazy", str(self._disk)], check=False)
        store = (TOCSIN[0], "-m", "benchmarks.chaos.clickhouse", "data", str(self._clickhouse_port))
        self._program("store", store, "Uvicorn running")
        self._programs["store"].start().await_ready()  # the others look for it when they start
        self._program("gateway", (*TOCSIN, "gateway"))
        own = (*TOCSIN, "worker") if self._scenario.encoder else (TOCSIN[0], *STUB)
        for name in ("score", "score 2", "watch", "respond", "respond 2"):
            self._program(name, (*own, name.split()[0]))

    def _kill(self, target: str) -> None:
        if target == "broker":
            self._killed = self._killed % self._scenario.brokers + 1
            self._cluster.kill(self._killed)
        else:
            super()._kill(target)

    def _start(self, target: str) -> None:
        if target == "broker":
            self._cluster.start(self._killed)
        else:
            super()._start(target)


def open_system(scenario: Scenario, directory: Path) -> System:
    """The system that a scenario asks for, not started yet."""
    return {"together": Together, "apart": Apart}[scenario.form](scenario, directory)
