"""What the kernel says of a process and those that it started."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def children_of(process: int) -> list[int]:
    """A process's descendants."""
    found: list[int] = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{process}/task").iterdir():
            own = [int(child) for child in (task / "children").read_text().split()]
            found += [*own, *(each for child in own for each in children_of(child))]
    return found


def resident_bytes(process: int) -> int:
    with suppress(FileNotFoundError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def command_of(process: int) -> str:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    return ""
