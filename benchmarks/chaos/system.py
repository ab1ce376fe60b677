"""The processes of a scenario, and how each fault is done to them and undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from benchmarks.chaos.faults import Fault, Scenario
from benchmarks.chaos.processes import children_of, command_of, resident_bytes
from sinks.clickhouse import Store
from sinks.recovery import UNDELIVERED
from streams.engines.broker import free_port
from streams.settings import Settings, load
from tests.program import TOCSIN, Program, until
from tests.receiver import Receiver

REFERENCE_UNITS = 2_000
MOST_BYTES = 200_000
DISK = "2g"
PARTS = ("object_store", "tansu")


class System(ABC):
    """A running tocsin, from `with` to the end of its block; it works in `directory`.

    Attributes:
        settings: of every process.
        bootstrap: where Kafka is.
        url: where the gateway is.
        receiver: of the notifications.
        done: what was done to it, by the faults' names.
        stops: whom SIGTERM was sent to, and the seconds until it had ended.
        ended: programs that ended without being asked, and were started again as a supervisor does.
    """

    bootstrap: str
    settings: Settings

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self._directory, self._stack = directory, ExitStack()
        self.done, self.ended = Counter[str](), Counter[str]()
        self.stops: list[tuple[str, float]] = []
        self._down: set[str] = set()
        self._programs: dict[str, Program] = {}
        self._scenario = scenario
        self._gateway_port, self._clickhouse_port = free_port(), free_port()
        self._disk = directory / "store" / "data"
        self.url = f"http://127.0.0.1:{self._gateway_port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.receiver = stack.enter_context(Receiver())
            self._stack = stack
            self._open()
            self.client = stack.enter_context(httpx.Client(base_url=self.url, timeout=30))
            for name in self._first:
                if not self._programs[name].runs():
                    self._programs[name].start()
            for name in self._first:
                self._programs[name].await_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def _first(self) -> list[str]:
        """What runs from the beginning."""
        return [name for name in self._programs if name != "score 2"]

    @abstractmethod
    def _open(self) -> None:
        """Start the engines, and name the programs."""

    def _program(self, name: str, command: tuple[str, ...], ready: str = " runs") -> None:
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        variables = variables_of(self._tree) | {"PYTHONPATH": path}
        program = Program(command, self._folder(name), variables, ready)
        self._programs[name] = self._stack.enter_context(program)

    def _folder(self, program: str) -> Path:
        return self._directory / program.replace(" ", "-")

    def _configure(self, **more: dict[str, Any]) -> None:
        tree: dict[str, Any] = {
            "data_directory": "data",
            "disk_free_bytes": 0,
            "gateway": {"port": self._gateway_port},
            "limits": {"message_bytes": MOST_BYTES},
            "watch": {"reference_units": REFERENCE_UNITS},
            "budget": {"pages_per_30_days": 3},
            "notification": {
                "urls": [self.receiver.url],
                "retry_seconds": 2,
                "group_seconds": 1,
                "follow_up_seconds": 3,
            },
        }
        for section, values in more.items():
            tree[section] = tree.get(section, {}) | values
        self._tree = tree
        self.settings = load(None, tree)[0]

    # -- faults --------------------------------------------------------------------------------------------------------

    def begin(self, fault: Fault) -> None:
        """Do it."""
        self.done[fault.name] += 1
        match fault.act:
            case "kill":
                self._kill(fault.target)
            case "terminate":
                self._terminate(fault.target)
            case "freeze":
                self._signal(fault.target, signal.SIGSTOP)
            case "join":
                self._programs[f"{fault.target} 2"].start()
            case "clock" | "scorer":
                name, text = ("clock", fault.target) if fault.act == "clock" else ("slow", "")
                for program in self._programs:
                    (self._folder(program) / name).write_text(text)
            case "receiver":
                self.receiver.away = True
            case "store":
                (self._folder("store") / "fault").write_text(fault.target)
            case "disk":
                _fill(self._disk)

    def end(self, fault: Fault) -> None:
        """Undo it."""
        match fault.act:
            case "kill" | "terminate":
                self._start(fault.target)
            case "freeze":
                self._signal(fault.target, signal.SIGCONT)
            case "join":
                self._programs[f"{fault.target} 2"].stop()
            case "clock" | "scorer":
                for program in self._programs:
                    (self._folder(program) / ("clock" if fault.act == "clock" else "slow")).unlink()
            case "receiver":
                self.receiver.away = False
            case "store":
                (self._folder("store") / "fault").unlink()
            case "disk":
                _limit_disk(self._disk, DISK)

    def supervise(self) -> None:
        """Start again what ended by itself."""
        for name in self._first:
            if name not in self._down and not self._programs[name].runs():
                self.ended[name] += 1
                self._programs[name].start()

    def _kill(self, target: str) -> None:
        self._down.add(target)
        self._programs[target].kill()

    def _signal(self, target: str, number: signal.Signals) -> None:
        if self._programs[target].runs():
            os.kill(self._programs[target].pid, number)

    def _terminate(self, target: str) -> None:
        """SIGTERM; what is still starting cannot obey in good order, so it is not timed."""
        self._down.add(target)
        served = self._programs[target].serves()
        code, seconds = self._programs[target].stop()
        if served:
            self.stops.append((target, seconds))
            assert code == 0, f"{target} ended with {code}: {self._programs[target].said()[-2000:]}"

    def _start(self, target: str) -> None:
        self._programs[target].start()
        self._down.discard(target)

    def resident(self) -> dict[str, int]:
        """Bytes of memory that each process holds, by program and by what runs in it."""
        found = Counter[str]()
        for name in self._first:
            own = self._programs[name].pid
            found[name] += resident_bytes(own)
            for process in children_of(own):
                part = next((each for each in PARTS if each in command_of(process)), "others")
                found[part] += resident_bytes(process)
        return found

    # -- the end -------------------------------------------------------------------------------------------------------

    def settle(self, seconds: float) -> None:
        """Wait until everything is dealt with, twice, and everybody is told: one stage's work is the next one's."""
        for _ in range(2):
            until(self._quiet, "everything is dealt with", seconds)
        until(lambda: not self.receiver.away and self._told(), "everybody is told", seconds)

    def _quiet(self) -> bool:
        self.supervise()
        with suppress(httpx.HTTPError, KeyError):
            total = self.client.get("/v1/audit").json()["total"]
            return int(total["waiting"]) == 0 and int(total["produced"]) > 0
        return False

    def _told(self) -> bool:
        return int(self.client.post("/v1/sql", content=UNDELIVERED).json()[0]["n"]) == 0

    def stop(self) -> None:
        """SIGTERM to all that is tocsin's; each is timed."""
        for name in self._first:
            if name != "store":
                self._terminate(name)

    def store(self) -> Store:
        """The tables, once tocsin has stopped."""
        store = Store.server("127.0.0.1", self._clickhouse_port, "default", "", False, "tocsin")
        self._stack.callback(store.close)
        return store

    def logs(self) -> str:
        """All that the processes of tocsin wrote."""
        files = [self._folder(name) / "log" for name in self._programs if name != "store"]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def audit(self) -> dict[str, Any]:
        """What `tocsin audit` says."""
        program = next(name for name in self._programs if name != "store")
        command = [*TOCSIN, "audit", "--json"]
        environment = os.environ | variables_of(self._tree)
        answer = subprocess.run(
            command, cwd=self._folder(program), env=environment, capture_output=True, text=True, timeout=300
        )
        assert answer.returncode == 0, answer.stderr or answer.stdout
        return dict(json.loads(answer.stdout))


def variables_of(tree: dict[str, Any], prefix: str = "TOCSIN_") -> dict[str, str]:
    """Settings as environment variables."""
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= variables_of(value, f"{prefix}{name.upper()}__")
        else:
            found[f"{prefix}{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _fill(disk: Path) -> None:
    """Make it about as large as what is on it; that may become more before it is done, and then it is refused."""
    for doubled in range(12):
        found = os.statvfs(disk)
        with suppress(subprocess.CalledProcessError):
            _limit_disk(disk, f"{(found.f_blocks - found.f_bfree) * found.f_frsize // 1024 + (64 << doubled)}k")
            return
    raise RuntimeError(f"{disk} grows faster than it can be filled")


def _limit_disk(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)
