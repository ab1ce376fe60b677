"""Processes that score, and what happens when they are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams.metrics import SIGNAL_FAILURES
from streams.scoring import Scoring, ScoringProcesses, open_scorer, open_scoring
from streams.settings import Settings
from tocsin.contracts import Interaction

INTERACTIONS = [
    Interaction(application="shop", prompt=f"Where is order {n}?", response=f"It is on its way, {n}.") for n in range(6)
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings(data_directory=tmp_path_factory.mktemp("data"), scoring={"backend": "onnx", "processes": 2})


@pytest.fixture(scope="module")
def processes(settings):
    scoring = open_scoring(settings)
    assert isinstance(scoring, ScoringProcesses)
    yield scoring
    scoring.close()


def told(scoring: Scoring) -> list[tuple[dict[str, float], bytes]]:
    return [(scores.signals, scores.prompt_vector.tobytes()) for scores in scoring.score(INTERACTIONS)]


def same(some: list[tuple[dict[str, float], bytes]], others: list[tuple[dict[str, float], bytes]]) -> bool:
    # The heads' products differ in the last bit with the number of threads that the algebra library has.
    return all(
        vector == other_vector and signals == pytest.approx(other_signals, abs=1e-5)
        for (signals, vector), (other_signals, other_vector) in zip(some, others, strict=True)
    )


def children() -> list[int]:
    listed = Path(f"/proc/{os.getpid()}/task")
    found = {int(pid) for task in listed.iterdir() for pid in (task / "children").read_text().split()}
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_processes_give_what_a_scorer_here_gives(settings, processes):
    with ThreadPoolExecutor(3) as pool:
        for scored in pool.map(lambda _: told(processes), range(3)):
            assert same(scored, told(open_scorer(settings)))


def test_a_killed_process_is_replaced_and_nothing_is_lost(processes):
    before = told(processes)
    os.kill(children()[0], signal.SIGKILL)
    with ThreadPoolExecutor(3) as pool:
        assert all(same(scored, before) for scored in pool.map(lambda _: told(processes), range(3)))


def test_failures_of_signals_in_processes_are_counted_and_logged_as_they_are_here(capfd):
    nobody = {"name": "tone", "url": "http://127.0.0.1:9", "outputs": [{"name": "warmth"}]}
    scoring = open_scoring(
        Settings(log_format="json", scoring={"backend": "onnx", "processes": 1, "http_scorers": [nobody]})
    )
    counted = SIGNAL_FAILURES.labels("tone", "ConnectError")
    before = counted._value.get()
    assert all("prompt.warmth" not in scores.signals for scores in scoring.score(INTERACTIONS))
    scoring.close()
    assert counted._value.get() == before + 1
    assert [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines() if "tone" in line] == [
        "signal tone failed: ConnectError"
    ]


def test_processes_end_with_the_one_that_started_them(settings):
    program = (
        "import os, signal; from streams.scoring import open_scoring; from streams.settings import Settings\n"
        "from tocsin.contracts import Interaction\n"
        "scoring = open_scoring(Settings(scoring={'backend': 'onnx', 'processes': 1}))\n"
        "scoring.score([Interaction(application='a', prompt='b', response='c')])\n"
        "print(*scoring._pool._processes, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    [child] = map(int, ended.stdout.split())
    while Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        time.sleep(0.05)
