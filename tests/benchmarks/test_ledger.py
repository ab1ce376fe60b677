"""What ran is kept, and only what is missing runs again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.progress import Progress

from benchmarks.drift import null
from benchmarks.drift.encoded import Sets
from benchmarks.drift.ledger import Cell, Ledger, version
from benchmarks.drift.work import estimated, work

SIGNALS = {"traffic": "independent", "kind": "binaries", "units": 2_000, "units_per_page": [100]}
CELL = Cell("null", SIGNALS | {"streams": 1, "length": 500}, seeds=5, chunk=2)
TASKS = list(CELL.tasks())


def ledger(folder: Path, of: str = "one") -> Ledger:
    return Ledger(folder / "results.jsonl", {"null": of})


def run(kept: Ledger, folder: Path, seconds: float = 60) -> int:
    deadline = time.monotonic() + seconds
    return work(TASKS, kept, Sets({}, folder, "none"), 1, deadline, Progress(disable=True))


def test_seeds_are_dealt_out_once_each() -> None:
    assert [(task.first, task.count) for task in TASKS] == [(0, 2), (2, 2), (4, 1)]
    assert TASKS[-1].progress == 1


def test_a_second_run_finds_everything_done_and_the_same_records(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    assert run(first, tmp_path) == 0
    assert len(first.records(CELL)) == 5
    again = ledger(tmp_path)
    assert all(again.has(task) for task in TASKS)
    assert again.records(CELL) == first.records(CELL) == [null.run(CELL.parameters, seed, {}) for seed in range(5)]


def test_a_line_that_a_crash_cut_off_is_run_again_and_spoils_nothing(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    for task in TASKS:
        kept.add(task, [{"units": 1, "pages": {"100": task.first}}] * task.count, 1.0)
    text = kept.file.read_text()
    kept.file.write_text(text[: len(text) - 20])
    cut = ledger(tmp_path)
    assert [cut.has(task) for task in TASKS] == [True, True, False]
    cut.add(TASKS[2], [{"units": 1, "pages": {"100": 7}}], 1.0)
    assert ledger(tmp_path).records(CELL)[-1]["pages"] == {"100": 7}


def test_records_of_other_code_do_not_count_but_tell_how_long_it_takes(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    kept.add(TASKS[0], [{"units": 1, "pages": {"100": 0}}] * 2, 10.0)
    changed = ledger(tmp_path, of="another")
    assert not changed.has(TASKS[0])
    assert estimated(TASKS, changed, workers=1) == pytest.approx(25.0)


def test_when_the_time_is_up_the_rest_is_left(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    assert run(kept, tmp_path, seconds=-1) == 3
    assert kept.records(CELL) == []


def test_a_comment_changes_no_version_but_a_number_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.drift.ledger.ROOT", tmp_path)

    def of(name: str, text: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_text(text)
        return version([f"{name}/*.py"], "encoder")

    plain = of("plain", "def f():\n    return 1\n")
    assert of("told", '"""Words."""\n\n\ndef f():\n    """Words."""\n    return 1  # why\n') == plain
    assert of("changed", "def f():\n    return 2\n") != plain
