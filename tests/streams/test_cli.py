"""The command line, as a person or a script uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli import app

COMMANDS = ("up", "demo", "worker", "gateway", "score", "backtest", "audit", "sql", "config", "doctor", "keys")


def run(*arguments: str, input: str | None = None) -> tuple[int, str, str]:  # noqa: A002  as the runner names it
    result = CliRunner().invoke(app, list(arguments), input=input)
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_command() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in COMMANDS:
        assert f" {command} " in out
        assert run(command, "--help")[0] == 0


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[gateway]\nport = 'x'", "gateway.port"),
        ("[gateway]\nprot = 1", "gateway.prot"),
        ("[watch]\nreference_units = 10", "watch.reference_units"),
        ("[gateway]\nhost = '0.0.0.0'", "gateway.keys"),
        ("[watch]\nsegments = ['colour']", "watch.segments"),
        ("[watch.signals]\ncolour = true", "watch.signals"),
        ("not toml", "tocsin.toml"),
    ],
)
def test_a_wrong_configuration_is_one_line_that_names_the_field_and_exit_2(
    tmp_path: Path, text: str, field: str
) -> None:
    file = tmp_path / "tocsin.toml"
    file.write_text(text, encoding="utf-8")
    code, _, err = run("config", "check", "--config", str(file))
    assert code == 2
    assert field in err
    assert len(err.strip().splitlines()) == 1


def test_config_show_says_where_a_value_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tocsin.toml"
    urls = "urls = ['json://user:hunter2hunter2@host/']"
    file.write_text(f"[budget]\npages_per_30_days = 3\n[notification]\n{urls}", "utf-8")
    monkeypatch.setenv("TOCSIN_GATEWAY__PORT", "9001")
    code, out, _ = run("config", "show", "--json", "--config", str(file))
    rows = {row["setting"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["budget.pages_per_30_days"] == {
        "setting": "budget.pages_per_30_days",
        "value": 3.0,
        "source": str(file),
    }
    assert rows["gateway.port"]["source"] == "environment"
    assert rows["gateway.host"]["source"] == "default"
    assert "hunter2" not in out


def test_a_new_key_is_shown_once_and_configured_by_its_hash() -> None:
    code, out, _ = run("keys", "new", "shop", "--scope", "publish", "--json")
    made = json.loads(out)
    assert code == 0
    assert made["key"].startswith("tocsin_")
    assert made["key"] not in json.dumps(made["setting"])
    assert run("keys", "new", "shop", "--scope", "everything")[0] == 2


def test_a_worker_without_engines_or_of_an_unknown_role_says_what_to_set() -> None:
    assert run("worker", "dance")[0] == 2
    code, _, err = run("worker", "score")
    assert code == 2
    assert "broker.bootstrap" in err


def test_score_gives_one_object_a_line_in_order_also_for_lines_that_cannot_be_read(tmp_path: Path) -> None:
    lines = [
        {"text": "You are a stupid idiot"},
        {"text": ""},
        {"prompt": "What is the capital of France?", "response": "I'm sorry, but I can't help with that."},
        {"prompt": 5},
    ]
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join([*map(json.dumps, lines), "{broken"]), encoding="utf-8")
    code, out, err = run("score", str(file))
    assert err.startswith("2 lines could not be read")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(found) == 5
    assert "toxicity" in found[0]["flags"]
    assert "empty" in found[1]["flags"]
    assert found[2]["signals"]["refusal"] > 0.5
    assert "prompt" in found[3]["error"]
    assert found[4] == {"error": "not JSON"}


def test_a_doctor_finds_all_in_order_and_leaves_no_data_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    # a process of its own, which may open a store beside that of other tests
    command = [sys.executable, "-m", "streams", "doctor", "--data", str(data), "--json"]
    out = subprocess.run(command, capture_output=True, check=False, timeout=120).stdout
    found = {each["check"]: each for each in json.loads(out)}
    assert found["engines"]["ok"] and "embedded broker" in found["engines"]["detail"], found
    assert not data.exists()
    assert run("audit", "--data", str(data))[0] == 1, "there is nothing to be audited"


def test_score_fails_when_it_could_read_nothing(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("{broken\nname,text\n", encoding="utf-8")
    code, _, err = run("score", str(file))
    assert code == 1 and err.startswith("2 lines could not be read")


def test_backtest_needs_a_reference_and_says_how_much(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"question {i}"}) for i in range(20)), encoding="utf-8")
    assert run("backtest", str(file))[0] == 2
    code, _, err = run("backtest", str(file), "--reference-first", "10")
    assert code == 2
    assert "2000" in err
    assert run("backtest", str(tmp_path / "none.jsonl"), "--reference-first", "10")[0] == 2


@pytest.mark.parametrize("command", [["audit"], ["sql", "SELECT 1 FROM interactions"], ["dead-letters", "list"]])
def test_a_directory_where_nothing_was_ever_stored_is_no_system(tmp_path: Path, command: list[str]) -> None:
    code, _, err = run(*command, "--data", str(tmp_path / "typo"))
    assert code == 1
    assert "nothing was ever stored" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "typo").exists()


def test_the_program_tells_its_version() -> None:
    assert run("--version")[1].startswith("tocsin ")


def test_sql_refuses_what_is_no_select_over_our_tables(tmp_path: Path) -> None:
    code, _, err = run("sql", "SELECT * FROM file('/etc/passwd')", "--data", str(tmp_path))
    assert code == 2
    assert "table functions" in err
