from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import orjson
import pyarrow.parquet
import pytest

from sinks.retraining import (
    Exited,
    Options,
    Refused,
    RetrainingConfigurationError,
    Run,
    Running,
    Started,
    Target,
    Unavailable,
    build_target,
    launcher,
    target_names,
)
from sinks.retraining.bundle import BundleFailed, write_bundle
from sinks.retraining.token import callback_token, load_secret, verify_callback
from sinks.retraining.webhook import WebhookTarget, signature

SECRET = b"s" * 32
JOB = """
import json, os, pathlib
received = {name: os.environ[name] for name in os.environ if name.startswith("TOCSIN_")}
with pathlib.Path(os.environ["STARTS"]).open("a") as starts:
    starts.write(json.dumps(received) + "\\n")
"""


def new_run() -> Run:
    run_id = str(uuid4())
    return Run(run_id, "i1", "support-bot", "http://127.0.0.1:1/runs", callback_token(SECRET, run_id))


def until(happened: Callable[[], object], seconds: float = 30) -> None:
    """Look again and again, for a generous time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


class Remote(ThreadingHTTPServer):
    """A real receiver on loopback that checks signatures and knows the runs it started."""

    def __init__(self) -> None:
        self.status = 202
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.started: dict[str, dict[str, str]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/runs?key=sw0rdfish"


class _Handler(BaseHTTPRequestHandler):
    server: Remote

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), body))
        status = self.server.status
        if self.headers["X-Tocsin-Signature"] != signature(SECRET, self.headers["X-Tocsin-Timestamp"], body):
            status = 401
        elif self.headers["Idempotency-Key"] in self.server.started:
            status = 409
        elif status == 202:
            self.server.started[self.headers["Idempotency-Key"]] = json.loads(body)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def remote() -> Iterator[Remote]:
    server = Remote()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class World:
    """Everything a target of any kind needs, and what its jobs received, whichever way they were started."""

    def __init__(self, directory: Path, remote: Remote) -> None:
        self.starts = directory / "starts"
        self.remote = remote
        job = directory / "job.py"
        job.write_text(JOB)
        self.options = Options(directory / "runs", (sys.executable, str(job)), remote.url, SECRET)

    def received(self) -> list[dict[str, str]]:
        by_command = self.starts.read_text().splitlines() if self.starts.exists() else []
        told = [
            {name.removeprefix("TOCSIN_").lower(): text for name, text in json.loads(line).items()}
            for line in by_command
        ]
        return told + list(self.remote.started.values())


@pytest.fixture
def world(tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, remote)
    monkeypatch.setenv("STARTS", str(world.starts))
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PASSWORD", "sw0rdfish")
    return world


# Every target, found by discovery: a new file in sinks/retraining is tested here at once.


def test_the_targets_are_the_ones_that_the_settings_name() -> None:
    assert target_names() == ("command", "webhook")
    with pytest.raises(RetrainingConfigurationError, match="is none of command, webhook"):
        build_target("nosuch", Options(Path()))


@pytest.fixture(params=target_names())
def target(request: pytest.FixtureRequest, world: World) -> Target:
    return build_target(request.param, world.options)


def test_a_target_is_named_like_its_module(target: Target) -> None:
    assert type(target).__module__ == f"sinks.retraining.{target.name}"


def test_a_started_job_knows_its_run_where_to_report_and_its_data(target: Target, world: World, tmp_path: Path) -> None:
    run, bundle = new_run(), tmp_path / "bundle"
    assert target.start(run, bundle) == Started()
    until(world.received)
    [received] = world.received()
    assert received["run_id"] == run.run_id
    assert received["callback_url"] == run.callback_url
    assert verify_callback(SECRET, run.run_id, received["callback_token"])
    assert received["bundle"] == str(bundle)
    assert "sw0rdfish" not in json.dumps(received)


def test_a_run_that_is_started_again_starts_nothing_even_by_a_new_target(target: Target, world: World) -> None:
    run = new_run()
    after_restart = build_target(target.name, world.options)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda each: each.start(run, Path()), [target] * 4)) == {Started()}
    assert after_restart.start(run, Path()) == Started()
    other = new_run()
    assert after_restart.start(other, Path()) == Started()
    until(lambda: len(world.received()) == 2)
    assert {received["run_id"] for received in world.received()} == {run.run_id, other.run_id}


def test_a_target_that_cannot_start_says_so_and_shows_no_secret(target: Target, world: World, tmp_path: Path) -> None:
    world.options.runs_directory.write_text("in the way")
    world.remote.status = 503
    result = target.start(new_run(), tmp_path)
    assert isinstance(result, Unavailable)
    assert "sw0rdfish" not in f"{result}{world.options}{new_run()}{target}"
    world.options.runs_directory.unlink()
    world.remote.status = 202
    assert target.start(new_run(), tmp_path) == Started()


@pytest.mark.parametrize("name", target_names())
def test_a_target_without_its_settings_stops_at_start_up_and_names_the_setting(name: str, tmp_path: Path) -> None:
    with pytest.raises(RetrainingConfigurationError, match=r"^retraining\."):
        build_target(name, Options(tmp_path))


# The command.


def command(world: World, source: str) -> Target:
    return build_target("command", Options(world.options.runs_directory, (sys.executable, "-c", source)))


def test_a_program_that_ends_without_calling_back_is_noticed(world: World) -> None:
    run, target = new_run(), command(world, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert target.start(run, Path()) == Started()
    until(lambda: target.poll(run) != Running())
    assert target.poll(run) == Exited(3)
    directory = world.options.runs_directory / run.run_id
    assert (directory / "stdout.log").read_text() == "out\n"
    assert (directory / "stderr.log").read_text() == "err\n"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


WAITS = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(.02)\npathlib.Path('done').touch()"


def test_a_program_runs_on_when_we_are_killed_and_is_found_again(world: World) -> None:
    run, target = new_run(), command(world, WAITS)
    source = f"""
import os, signal
from pathlib import Path
from sinks.retraining import Options, Run, build_target
options = Options(Path({str(world.options.runs_directory)!r}), {("" + sys.executable, "-c", WAITS)!r})
print(build_target("command", options).start(Run({run.run_id!r}, "i", "a", "u", "t"), Path()), flush=True)
os.killpg(0, signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", source], capture_output=True, start_new_session=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"Started()\n")
    assert target.poll(run) == Running()
    assert target.start(run, Path()) == Started()
    directory = world.options.runs_directory / run.run_id
    (directory / "go").touch()
    until(lambda: target.poll(run) == Exited(0))
    assert (directory / "done").exists()
    assert target.start(run, Path()) == Started()
    assert target.poll(run) == Exited(0)


def test_a_killed_run_has_ended_without_a_code_and_stays_ended(world: World) -> None:
    run, target = new_run(), command(world, WAITS)
    assert target.start(run, Path()) == Started()
    note = json.loads((world.options.runs_directory / run.run_id / "started.json").read_text())
    os.killpg(note["process_group"], signal.SIGKILL)
    until(lambda: target.poll(run) != Running())
    assert target.poll(run) == Exited(None)
    assert target.start(run, Path()) == Started()
    assert target.poll(run) == Exited(None)


def test_a_run_whose_launcher_alone_is_killed_still_counts_as_running(world: World) -> None:
    run, target = new_run(), command(world, f"import os\nprint(os.getppid(), flush=True)\n{WAITS}")
    target.start(run, Path())
    directory = world.options.runs_directory / run.run_id
    until((directory / "stdout.log").read_text)
    os.kill(int((directory / "stdout.log").read_text()), signal.SIGKILL)
    assert target.poll(run) == Running()
    (directory / "go").touch()
    until(lambda: target.poll(run) == Exited(None))


def test_a_program_that_is_gone_by_then_is_refused_and_can_be_mended(world: World, tmp_path: Path) -> None:
    program = tmp_path / "train"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    target = build_target("command", Options(world.options.runs_directory, (str(program),)))
    run = new_run()
    program.chmod(0o644)
    assert isinstance(target.start(run, Path()), Refused)
    program.chmod(0o755)
    assert target.start(run, Path()) == Started()
    until(lambda: target.poll(run) == Exited(7))


def test_a_program_that_the_system_cannot_run_ends_with_127(world: World, tmp_path: Path) -> None:
    program = tmp_path / "train"
    program.write_text("#!/nosuch/interpreter\n")
    program.chmod(0o755)
    target, run = build_target("command", Options(world.options.runs_directory, (str(program),))), new_run()
    target.start(run, Path())
    until(lambda: target.poll(run) == Exited(127))
    assert "cannot run" in (world.options.runs_directory / run.run_id / "stderr.log").read_text()


def test_no_zombie_stays_behind(world: World) -> None:
    run, target = new_run(), command(world, "pass")
    target.start(run, Path())
    until(lambda: target.poll(run) == Exited(0))
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    assert ["Z", str(os.getpid())] not in [fields[:2] for fields in stats]


# The web hook.


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, Started) for status in (200, 204, 409)),
        *((status, Refused) for status in (400, 401, 404, 422)),
        *((status, Unavailable) for status in (302, 408, 425, 429, 500, 503)),
    ],
)
def test_each_answer_has_its_meaning(remote: Remote, status: int, expected: type) -> None:
    remote.status = status
    assert isinstance(WebhookTarget(remote.url, SECRET).start(new_run(), Path()), expected)


def test_the_signature_is_over_time_and_body(remote: Remote) -> None:
    run = new_run()
    assert WebhookTarget(remote.url, SECRET, clock=lambda: 1234.9).start(run, Path("/b")) == Started()
    [(headers, body)] = remote.requests
    assert headers["X-Tocsin-Timestamp"] == "1234"
    assert headers["X-Tocsin-Signature"] == signature(SECRET, "1234", body)
    assert len({signature(SECRET, "1234", body), signature(SECRET, "1235", body), signature(b"x", "1234", body)}) == 3
    assert isinstance(WebhookTarget(remote.url, b"other").start(new_run(), Path()), Refused)


def test_a_receiver_that_is_away_is_unavailable() -> None:
    result = WebhookTarget("http://127.0.0.1:9/?key=sw0rdfish", SECRET).start(new_run(), Path())
    assert result == Unavailable("no answer: ConnectError")


@pytest.mark.parametrize("url", ["", "ftp://host/x", "http://", "host:8080", "http://host:port"])
def test_an_address_that_is_none_stops_at_start_up(url: str) -> None:
    with pytest.raises(RetrainingConfigurationError, match=r"^retraining\.webhook_url"):
        WebhookTarget(url, SECRET)


# The token.


def test_a_token_opens_its_own_run_only() -> None:
    token = callback_token(SECRET, "run-1")
    assert verify_callback(SECRET, "run-1", token)
    for run_id, secret, wrong in (("run-2", SECRET, token), ("run-1", b"x" * 32, token), ("run-1", SECRET, "é\ud800")):
        assert not verify_callback(secret, run_id, wrong)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "retraining.secret"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: load_secret(path), range(8)))
    assert len(secrets) == 1
    assert len(secrets.pop()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_secret_that_is_open_short_or_out_of_reach_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_secret(path)
    path.chmod(0o644)
    with pytest.raises(RetrainingConfigurationError, match="others can read"):
        load_secret(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(RetrainingConfigurationError, match="shorter"):
        load_secret(path)
    with pytest.raises(RetrainingConfigurationError, match=r"secret/below: "):
        load_secret(path / "below")


# The bundle.

ROWS = [
    {
        "interaction_id": "i1",
        "occurred_at": datetime(2025, 3, 1, tzinfo=UTC),
        "prompt": "Grüße 你好",
        "signals": {"toxicity": 0.5, "nan": float("nan")},
        "labels": {"language": "de"},
        "attributes": {},
        "vector": [0.5, 1.0],
    },
    {"interaction_id": "i2", "only_here": 3, "signals": {}},
]


def test_a_bundle_reads_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "runs" / "r1" / "bundle", {"run_id": "r1"}, ROWS, ROWS[:1], [])
    manifest = orjson.loads((bundle / "manifest.json").read_bytes())
    assert manifest == {"run_id": "r1", "bundle_version": 1, "rows": {"reference": 2, "drifted": 1, "rated": 0}}
    first, second = pyarrow.parquet.read_table(bundle / "reference.parquet").to_pylist()
    assert first["prompt"] == "Grüße 你好"
    assert first["occurred_at"] == ROWS[0]["occurred_at"]
    assert dict(first["signals"])["toxicity"] == 0.5
    assert dict(first["labels"]) == {"language": "de"}
    assert (first["only_here"], second["only_here"], second["prompt"]) == (None, 3, None)
    lines = [orjson.loads(line) for line in (bundle / "reference.jsonl").read_bytes().splitlines()]
    assert lines[0]["occurred_at"] == "2025-03-01T00:00:00Z"
    assert lines[1] == {"interaction_id": "i2", "only_here": 3, "signals": {}}
    assert pyarrow.parquet.read_table(bundle / "rated.parquet").num_rows == 0
    assert (bundle / "rated.jsonl").read_bytes() == b""
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o700


def test_a_bundle_that_is_there_is_left_alone(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", {"first": True}, ROWS, [], [])
    assert write_bundle(tmp_path / "bundle", {"first": False}, [], [], []) == bundle
    assert orjson.loads((bundle / "manifest.json").read_bytes())["first"] is True


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    for value in (object(), "sw0rdfish\ud800"):
        with pytest.raises(BundleFailed) as caught:
            write_bundle(tmp_path / "bundle", {}, [{"text": "a"}, {"text": value}], [], [])
        assert "sw0rdfish" not in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_bundle(tmp_path / "file" / "bundle", {}, ROWS, [], [])
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_the_launcher_needs_the_standard_library_alone(tmp_path: Path) -> None:
    alone = [sys.executable, "-I", "-S", launcher.__file__, "nosuch-program"]
    assert subprocess.run(alone, cwd=tmp_path, check=False).returncode == launcher.CANNOT_RUN
