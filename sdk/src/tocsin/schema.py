"""JSON Schema of everything that travels on the topics: `python -m tocsin.schema DIRECTORY [--check]`.

Services in other languages validate and generate code from these files; `--check` writes nothing, and exits with 1 when
the files differ from the code.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tocsin.contracts import Feedback, Interaction
from tocsin.messages import COMMAND, SIGNALS_MESSAGE, Page, Scored

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SUBJECTS: dict[str, TypeAdapter[Any]] = {
    "interaction": TypeAdapter(Interaction),
    "feedback": TypeAdapter(Feedback),
    "scored": TypeAdapter(Scored),
    "signals": SIGNALS_MESSAGE,
    "page": TypeAdapter(Page),
    "command": COMMAND,
}


def files() -> dict[str, str]:
    """The text of each schema file by its name."""
    return {f"{name}.schema.json": _text(subject) for name, subject in SUBJECTS.items()}


def stale(directory: Path) -> list[str]:
    """The names of schema files that are missing, differ from the code, or belong to nothing."""
    wanted = files()
    there = {path.name: path.read_text("utf-8") for path in directory.glob("*.schema.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with `--check` compare them."""
    parser = argparse.ArgumentParser(prog="python -m tocsin.schema", description="Export JSON Schema files.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if a file differs")
    options = parser.parse_args(arguments)
    if options.check:
        differing = stale(options.directory)
        for name in differing:
            print(f"{options.directory / name}: differs from the code", file=sys.stderr)
        return 1 if differing else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (options.directory / name).write_text(text, "utf-8")
    return 0


def _text(subject: TypeAdapter[Any]) -> str:
    return (
        json.dumps({"$schema": DIALECT, **subject.json_schema()}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
