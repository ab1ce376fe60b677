"""The rooms of the house: whose packages they are, what they may not contain, and that each says what it is for."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("streams", "detectors", "sinks", "dashboards")
FOLDERS = (*ROOMS, "sdk", "tests", "benchmarks", "docs")
OUTSIDE = {ROOT / name for name in ("data", "build", "dist")}
CONFIGURATION = {".toml", ".txt", ".cfg", ".ini", ".yml", ".yaml", ".lock", ".sh", ""}
INDEX = re.compile(
    r"(?:index-url|index_url|find-links|trusted-host)[\s=\"']+\w|//[\w.:-]*(?:/simple\b|pypi)", re.IGNORECASE
)
# in parts, so that this file does not hold what it looks for
HOME = re.compile(r"(?<![\w.])/(?:" + "|".join(("home", "Users", "root", "work", "mnt")) + r")/\w")


def is_ours(folder: Path) -> bool:
    """Whether a folder is ours, and not one that tools leave behind."""
    hidden = folder.name.startswith(".") and folder.name not in (".ci", ".github")
    made = folder.name in ("__pycache__", "vendor") or folder.name.endswith(".egg-info")
    return not hidden and not made and folder not in OUTSIDE


@cache
def own_files() -> tuple[Path, ...]:
    """All of our files."""
    found: list[Path] = []
    folders = [ROOT]
    while folders:
        inside = list(folders.pop().iterdir())
        found += [path for path in inside if path.is_file()]
        folders += [path for path in inside if path.is_dir() and not path.is_symlink() and is_ours(path)]
    return tuple(found)


def text_of(path: Path) -> str:
    """What a file says, or nothing if it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def sources() -> list[Path]:
    return [path for path in own_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_ours_alone(room: str) -> None:
    """An index has a foreign package called `detectors`: installed beside ours, it would be imported instead."""
    assert set(packages_distributions()[room]) == {"tocsin-server"}


def test_the_library_is_a_distribution_of_its_own() -> None:
    assert set(packages_distributions()["tocsin"]) == {"tocsin"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_room_has_its_folder(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_tests_are_no_packages_so_that_they_shadow_nothing() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_configuration_names_a_package_index() -> None:
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in own_files()
        if path.suffix in CONFIGURATION and (match := INDEX.search(text_of(path)))
    }
    assert found == {}


def test_nothing_names_a_path_of_somebodys_machine() -> None:
    found = {str(path.relative_to(ROOT)): match[0] for path in own_files() if (match := HOME.search(text_of(path)))}
    assert found == {}


def test_every_module_says_what_it_is_for() -> None:
    modules = [path for path in sources() if path.read_text(encoding="utf-8").strip()]
    assert len(modules) > 50
    silent = [path.relative_to(ROOT) for path in modules if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert silent == []


def test_no_module_is_longer_than_a_reader_bears() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_the_licence_and_its_attributions_are_there() -> None:
    assert "Apache License" in text_of(ROOT / "LICENSE")
    assert text_of(ROOT / "NOTICE").strip()
