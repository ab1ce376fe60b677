from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# a process of its own: chDB opens one directory in the life of a process, and the tests have theirs open
OPEN = """
import sys
from pathlib import Path
from kafka import KafkaAdminClient
from streams.engines import EngineError, open_engines
from streams.settings import Settings
from streams.topics import end_offsets
from tocsin.messages import TOPICS
try:
    with open_engines(Settings(data_directory=Path(sys.argv[1]))) as engines:
        assert {topic for topic, _ in end_offsets(engines.bootstrap, TOPICS)} == set(TOPICS)
        engines.store.insert("incidents", [{"incident_id": sys.argv[2], "title": "t", "version": 1}])
        rows = engines.store.query("SELECT incident_id FROM incidents FINAL ORDER BY incident_id")
        print(*(row["incident_id"] for row in rows), flush=True)
        sys.stdin.read()
except EngineError as error:
    sys.exit(f"{error}")
"""


def start(directory: Path, incident: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN, str(directory), incident]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_everything_opens_closes_and_opens_again_with_its_data(tmp_path: Path) -> None:
    for incident, expected in (("a", "a\n"), ("b", "a b\n")):
        process = start(tmp_path / "data", incident)
        output, errors = process.communicate(timeout=60)
        assert (output, process.returncode) == (expected, 0), errors


def test_a_second_process_on_the_same_directory_gets_one_line_and_harms_nothing(tmp_path: Path) -> None:
    first = start(tmp_path, "a")
    assert first.stdout is not None
    assert first.stdout.readline() == "a\n"
    second = start(tmp_path, "b")
    output, errors = second.communicate(timeout=60)
    assert (output, second.returncode) == ("", 1)
    assert errors == f"data directory {tmp_path} is in use by process {first.pid}\n"
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file" / "data", "a")
    _, errors = process.communicate(timeout=60)
    assert errors == f"data directory {tmp_path}/file/data cannot be used: Not a directory\n"
