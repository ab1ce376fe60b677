"""Dead letters as a person deals with them, on a running system and on one that was killed."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from streams.cli import app
from tests.program import Program, tocsin

pytestmark = pytest.mark.integration

# gateway and pages over the embedded engines, with two letters that a stage has left
PROGRAM = """
import asyncio
from streams.engines import open_engines
from streams.service import serve
from streams.settings import load
from sinks.rows import dead_letter_row
from tocsin.contracts import now
from tocsin.messages import INTERACTIONS, Source

settings = load()[0]
with open_engines(settings) as engines:
    for offset, (reason, raw) in enumerate([
        ("schema", b'{"application": "shop", "prompt": "secret", "respons": "a"}'),
        ("not_json", b"\\xffsecret"),
    ]):
        source = Source(topic=INTERACTIONS, partition=0, offset=offset)
        engines.store.insert("dead_letters", [dead_letter_row(source, now(), reason, "response", raw, 14)])
    asyncio.run(serve(settings, engines, [], gateway=True, announce=lambda url: print("it runs", flush=True)))
"""
SETTINGS = {"TOCSIN_DISK_FREE_BYTES": "0", "TOCSIN_GATEWAY__PORT": "0"}
FIRST, SECOND = "tocsin.interactions/0/0", "tocsin.interactions/0/1"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Program]:
    with Program([sys.executable, "-c", PROGRAM], tmp_path, SETTINGS, ready="it runs") as program:
        program.start().await_ready()
        yield program


def ask(directory: Path, *arguments: str) -> Result:
    """Run a command in this process, which the running system is not."""
    return CliRunner().invoke(app, [*arguments, "--data", str(directory / "data")])


def test_letters_are_listed_shown_exported_mended_and_replayed(system: Program, tmp_path: Path) -> None:
    listed = ask(tmp_path, "dead-letters", "list", "--json")
    rows = {row["letter_id"]: row for row in json.loads(listed.stdout)}
    assert {letter: row["reason"] for letter, row in rows.items()} == {FIRST: "schema", SECOND: "not_json"}
    assert rows[SECOND]["bytes"] == 7
    shown = ask(tmp_path, "dead-letters", "show", SECOND)
    assert json.loads(shown.stdout)["bytes"] == 7
    assert "secret" not in listed.stdout + shown.stdout
    assert ask(tmp_path, "dead-letters", "show", SECOND, "--raw").stdout_bytes == b"\xffsecret"

    exported = tmp_path / "letters.jsonl"
    assert ask(tmp_path, "dead-letters", "export", "--out", str(exported)).exit_code == 0
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert ask(tmp_path, "dead-letters", "export", "--out", str(exported)).exit_code == 2  # nothing is written over
    first, second = map(json.loads, exported.read_text().splitlines())
    assert second["base64"] == "/3NlY3JldA=="
    first["message"]["response"] = first["message"].pop("respons")
    exported.write_text(json.dumps(first) + "\n")

    unchanged = ask(tmp_path, "replay", "--dead-letters")
    assert (unchanged.exit_code, "2 unreadable" in unchanged.stdout) == (1, True)
    fixed = ["replay", "--dead-letters", "--fixed", str(exported)]
    tried = ask(tmp_path, *fixed, "--dry-run")
    assert (tried.exit_code, tried.stdout) == (0, "1 would be replayed\n")
    assert ask(tmp_path, *fixed).stdout == "1 replayed\n"
    again = ask(tmp_path, *fixed, "--json")
    assert json.loads(again.stdout) == {"letter_id": FIRST, "outcome": "replayed before", "detail": ""}
    system.kill()
    stopped = tocsin(*fixed, "--again", directory=tmp_path)  # opens the engines itself
    assert (stopped.returncode, stopped.stdout) == (0, "1 replayed\n")


def test_what_cannot_be_replayed_ends_with_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"letter_id": "x"}\n')
    for arguments in (["replay"], ["replay", "--dead-letters", "--fixed", str(broken)]):
        answer = ask(tmp_path, *arguments)
        assert (answer.exit_code, len(answer.stderr.splitlines())) == (2, 1)
