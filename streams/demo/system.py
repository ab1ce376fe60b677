"""The running system, as the demonstration sees it: a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from streams.engines import EngineError
from streams.engines.tether import tethered

START_SECONDS = 120
STOP_SECONDS = 20


class System:
    """`tocsin up` as a child process; a context manager.

    Args:
        directory: of its data, its configuration and its log.
        port: of the front.
        notification_url: an Apprise URL.
        reference_units: units that make a reference.
    """

    def __init__(self, directory: Path, port: int, notification_url: str, reference_units: int) -> None:
        self._config, self._log = directory / "tocsin.toml", directory / "log"
        job = [sys.executable, "-m", "streams.demo.retrain"]
        self._config.write_text(
            f"data_directory = {json.dumps(str(directory / 'data'))}\n"
            f"[gateway]\nport = {port}\n"
            f"[watch]\nreference_units = {reference_units}\n"
            f"[notification]\nurls = [{json.dumps(notification_url)}]\n"
            f'[retraining]\ntarget = "command"\ncommand = {json.dumps(job)}\ncooldown_hours = 0\n',
            encoding="utf-8",
        )
        self._marker = directory / "data" / "running.json"
        self.url = ""

    def __enter__(self) -> System:
        command = tethered([sys.executable, "-m", "streams", "up", "--config", str(self._config)])
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._marker.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise EngineError(f"the system did not start; its log is {self._log}: {self._last_line()}")
            time.sleep(0.2)
        self.url = json.loads(self._marker.read_bytes())["url"]
        self._client = httpx.Client(base_url=self.url, timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _last_line(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it is empty"

    def audit(self) -> dict[str, Any]:
        """The audit of all topics."""
        return dict(self._answer(self._client.get("/v1/audit")))

    def sql(self, query: str) -> list[dict[str, Any]]:
        """The rows of one SELECT."""
        return list(self._answer(self._client.post("/v1/sql", content=query)))

    def command(self, command: dict[str, str]) -> None:
        """Send an operator's command."""
        self._answer(self._client.post("/v1/commands", json=command))

    def settle(self, progress: Callable[[int], None] = lambda _: None, seconds: float = 300) -> None:
        """Wait until every message of every topic is dealt with; `progress` is told how many interactions are stored.

        Raises:
            EngineError: it takes too long.
        """
        deadline = time.monotonic() + seconds
        quiet = 0
        while quiet < 2:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise EngineError(f"the system does not get on; its log is {self._log}: {self._last_line()}")
            found = self.audit()
            mine = [each for each in found["partitions"] if each["topic"] == "tocsin.interactions"]
            progress(sum(each["stored"] for each in mine))
            # twice: what one stage has dealt with may be on its way to the next
            quiet = quiet + 1 if found["total"]["waiting"] == 0 else 0
            time.sleep(0.3)

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_error:
            raise EngineError(f"{self.url} answers {response.status_code}; its log is {self._log}")
        return response.json()
