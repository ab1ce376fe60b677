"""What was run already: one line of JSON a task, appended as it ends, so that a rerun does only what is missing."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

VECTOR_LANES = tuple(
    f"detectors/drift/{name}.py"
    for name in ("__init__", "kernels", "novelty", "reference", "tail", "usable", "vectors")
)
"""What records of a vector stream follow from."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One setting of one experiment, run with the seeds 0, 1, 2, …

    Attributes:
        family: the module of this package that runs it.
        parameters: all that its records depend on beside the seed and the code; of plain JSON types.
        seeds: how many.
        chunk: seeds a task: what is lost when a run is cut off, and the grain of the progress.
    """

    family: str
    parameters: Mapping[str, Any]
    seeds: int
    chunk: int

    @property
    def name(self) -> str:
        """To be read by people and to be looked up by."""
        return f"{self.family} {json.dumps(self.parameters, sort_keys=True)}"

    def tasks(self) -> Iterator[Task]:
        """The seeds in chunks."""
        for first in range(0, self.seeds, self.chunk):
            yield Task(self, first, min(self.chunk, self.seeds - first))


@dataclass(frozen=True)
class Task:
    """Some consecutive seeds of a cell."""

    cell: Cell
    first: int
    count: int

    @property
    def progress(self) -> float:
        """Share of its cell that is done after it. In this order all cells fill at the same pace."""
        return (self.first + self.count) / self.cell.seeds

    def key(self, version: str) -> str:
        """Under which its records are kept."""
        return f"{version} {self.cell.name} {self.first}+{self.count}"


def version(patterns: Iterable[str], fingerprint: str) -> str:
    """Digest of the code (not of its comments and docstrings) and the encoder that records follow from."""
    files = sorted({file for pattern in patterns for file in ROOT.glob(pattern)})
    return hashlib.blake2b("\0".join([fingerprint, *map(_code, files)]).encode(), digest_size=6).hexdigest()


@cache
def _code(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass
class Ledger:
    """The file of all tasks that have ended, of whatever version of the code.

    Attributes:
        file: JSON lines; a line that a crash cut off is passed over.
        versions: family to the version that counts now.
    """

    file: Path
    versions: Mapping[str, str]
    _kept: dict[str, tuple[list[Record], float]] = field(default_factory=dict)
    _pace: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file.is_file():
            with self.file.open(encoding="utf-8") as lines:
                for line in lines:
                    with suppress(json.JSONDecodeError):
                        self._note(json.loads(line))

    def _note(self, row: Record) -> None:
        self._kept[row["key"]] = row["records"], row["seconds"]
        self._pace[row["cell"]] = row["seconds"] / len(row["records"])

    def add(self, task: Task, records: list[Record], seconds: float) -> None:
        """Keep what a task found."""
        row = {"key": self._key(task), "cell": task.cell.name, "seconds": round(seconds, 2), "records": records}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as opened:
            if opened.tell() and not _ends_with_newline(opened):
                opened.write(b"\n")
            opened.write(json.dumps(row).encode() + b"\n")
        self._note(row)

    def has(self, task: Task) -> bool:
        """Whether this task has ended, under the present code."""
        return self._key(task) in self._kept

    def records(self, cell: Cell) -> list[Record]:
        """What the present code found in a cell so far, by seed."""
        return [record for task in cell.tasks() if self.has(task) for record in self._kept[self._key(task)][0]]

    def estimate(self, task: Task) -> float | None:
        """Seconds that a task will take, from the last one of its cell, of whatever version; none without one."""
        pace = self._pace.get(task.cell.name)
        return None if pace is None else pace * task.count

    def _key(self, task: Task) -> str:
        return task.key(self.versions[task.cell.family])


def _ends_with_newline(opened: Any) -> bool:
    opened.seek(-1, 2)
    return bool(opened.read(1) == b"\n")
