"""The documentation is tested: what it names exists, what it shows runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tocsin
from sinks.clickhouse import Store
from streams.cli import app
from streams.documentation import PAGES
from streams.settings import load
from streams.sql import TABLES, checked
from tocsin.schema import stale

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(file: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), (
        "run `python -m streams.documentation docs`"
    )


def test_exported_schemas_are_up_to_date() -> None:
    assert not stale(ROOT / "docs" / "schema"), "run `python -m tocsin.schema docs/schema`"


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        assert target.startswith("http") or (file.parent / target).exists(), target


@pytest.mark.parametrize("statement", blocks(ROOT / "docs" / "tables.md", "sql"))
def test_every_example_query_is_allowed_and_runs(store: Store, statement: str) -> None:
    assert store.query(checked(statement)) == []


def test_every_table_is_documented(store: Store) -> None:
    tables = {row["name"] for row in store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")}
    documented = set(
        re.findall(r"^\| `(\w+)` R", (ROOT / "docs" / "tables.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert tables - {"schema_migrations"} == documented
    assert tables == set(TABLES)


def test_the_readme_s_configuration_is_valid(tmp_path: Path) -> None:
    for block in blocks(ROOT / "README.md", "toml"):
        assert tomllib.loads(block)
        (tmp_path / "tocsin.toml").write_text(block, encoding="utf-8")
        load(tmp_path / "tocsin.toml")


def test_the_readme_s_code_runs() -> None:
    for block in blocks(ROOT / "README.md", "python"):
        subprocess.run([sys.executable, "-c", f"{block}\nclient.close(0)"], check=True, timeout=60)
    assert tocsin.__all__


def test_every_command_that_the_documents_name_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    commands |= {group.name for group in app.registered_groups}
    for file in DOCUMENTS:
        text = file.read_text(encoding="utf-8")
        code = "\n".join([*re.findall(r"```\w*\n(.*?)```", text, re.DOTALL), *re.findall(r"`(tocsin [^`]+)`", text)])
        named = set(re.findall(r"^tocsin ([a-z-]+)", code, re.MULTILINE))
        assert named <= commands, (file.name, named - commands)


def test_make_can_make_what_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"))) <= targets
