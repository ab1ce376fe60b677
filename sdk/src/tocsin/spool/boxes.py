"""Directories that belong to one process each, for as long as it lives; then to whoever finds them."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from tocsin.contracts import new_id

PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600  # what is in here is raw content


class Boxes:
    """The boxes that this process holds, each by the lock of its file `lock`, which the system frees at its end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._locks: dict[Path, int] = {}

    def new(self) -> Path:
        """A box of our own. It gets its name when it is locked, so that nobody finds it free."""
        self._directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        name = new_id()
        hidden, box = self._directory / f".{name}", self._directory / name
        hidden.mkdir(mode=PRIVATE_DIRECTORY)
        file = os.open(hidden / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(box)
            sync_directory(self._directory)
        except OSError:
            os.close(file)
            raise
        self._locks[box] = file
        return box

    def take_orphans(self) -> list[Path]:
        """The boxes that nobody holds, the oldest first; from now on we do."""
        locks = {box: file for box in self._all() if (file := _locked(box / "lock")) is not None}
        self._locks |= locks
        return list(locks)

    def has_orphans(self) -> bool:
        """Whether there are messages in a box that nobody holds."""
        for box in self._all():
            file = _locked(box / "lock")
            if file is not None:
                os.close(file)
                if any(_sizes(box)):
                    return True
        return False

    def foreign_bytes(self) -> int:
        """What is in the boxes of others."""
        return sum(sum(_sizes(box)) for box in self._all() if box not in self._locks)

    def release(self, box: Path) -> None:
        """Let go of a box, and remove it if there are no messages in it."""
        with suppress(OSError):
            if not any(_sizes(box)):
                for path in [*segment_files(box), box / "lock"]:
                    path.unlink(missing_ok=True)
                box.rmdir()
        os.close(self._locks.pop(box))

    def release_all(self) -> None:
        """Let go of every box."""
        for box in list(self._locks):
            self.release(box)

    def abandon(self) -> None:
        """In a forked child: leave them to the parent. Closing does not unlock, since the parent has the files open."""
        locks, self._locks = self._locks, {}
        for file in locks.values():
            os.close(file)

    def _all(self) -> list[Path]:
        try:
            return sorted(path for path in self._directory.iterdir() if not path.name.startswith("."))
        except OSError:
            return []


def segment_files(box: Path) -> list[Path]:
    """The segments in a box, the oldest first."""
    return sorted(box.glob("*.spool"))


def sync_directory(path: Path) -> None:
    """A new file is there after a crash of the machine only if its directory says so on disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sizes(box: Path) -> list[int]:
    sizes = []
    for path in segment_files(box):
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sizes


def _locked(path: Path) -> int | None:
    """The file, locked by us; None if somebody else has it, or it is not there (any more)."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink:
            return file
    os.close(file)
    return None
