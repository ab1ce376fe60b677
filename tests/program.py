"""Programs as processes: started, waited for, stopped and killed as an operator or a crash would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

START_SECONDS = 180  # the very first start converts the encoder's weights
STOP_SECONDS = 60
TOCSIN = (sys.executable, "-m", "streams")
CLICKHOUSE = (sys.executable, str(Path(__file__).with_name("clickhouse_http.py")))


def until(done: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait for something, or fail and name it."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings, and none of another installation but its converted weights."""
    kept = {name for name in os.environ if not name.startswith("TOCSIN_")} | {"TOCSIN_CACHE_DIRECTORY"}
    return {name: value for name, value in os.environ.items() if name in kept} | dict(settings)


class Program:
    """A program that can be started again and again; killed at the end of its block. It works in `directory`.

    Args:
        command: what to run.
        directory: its working directory; made if missing.
        settings: `TOCSIN_*` variables.
        ready: words that it says once it serves.
    """

    def __init__(self, command: Sequence[str], directory: Path, settings: Mapping[str, str], ready: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._command, self._directory, self._ready = list(command), directory, ready
        self._environment, self._log, self._before = environment(settings), directory / "log", 0

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "_process"):
            self.kill()

    def start(self) -> Program:
        """Start it; `await_ready` says when it serves."""
        self._before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._directory, env=self._environment, stdout=log, stderr=log
            )
        return self

    def await_ready(self) -> Program:
        """Wait until it serves."""

        def ready() -> bool:
            assert self._process.poll() is None, f"{self._command} ended: {self.said()[-3000:]}"
            return self._ready in self.said()

        until(ready, f"{self._command} is ready", START_SECONDS)
        return self

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return hasattr(self, "_process") and self._process.poll() is None

    def serves(self) -> bool:
        """Whether it runs and has said that it is ready."""
        return self.runs() and self._ready in self.said()

    def said(self) -> str:
        """What it wrote to standard output and error since it was last started."""
        return self._log.read_bytes()[self._before :].decode(errors="replace")

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to end; returns its exit code and the seconds that it took."""
        began = time.monotonic()
        self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS), time.monotonic() - began


def tocsin(
    *arguments: str, directory: Path, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line to its end."""
    return subprocess.run(
        [*TOCSIN, *arguments],
        cwd=directory,
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
