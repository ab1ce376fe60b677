"""One owner of a directory at a time, where that one answers, and what the engines raise when they cannot start."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

RUNNING = "running.json"


class EngineError(Exception):
    """An engine cannot start; the message is one line for the person who starts it. The process stops."""


class DirectoryInUse(EngineError):
    """Another process owns the directory; stop that one, or use another directory."""


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Own `directory` (made if missing, for this user alone) until the end of the block or of the process.

    Raises:
        DirectoryInUse: another process does.
        EngineError: it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / "owner", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EngineError(f"data directory {directory} cannot be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode() or "unknown"
            raise DirectoryInUse(f"data directory {directory} is in use by process {owner}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def was_owned(directory: Path) -> bool:
    """Whether some process owns the directory, or ever did."""
    return (directory / "owner").exists()


def is_owned(directory: Path) -> bool:
    """Whether some process owns the directory now."""
    try:
        descriptor = os.open(directory / "owner", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def require_free(directory: Path) -> None:
    """Find out whether a directory has no owner.

    Raises:
        DirectoryInUse: it has.
    """
    if is_owned(directory):
        owner = (directory / "owner").read_text() or "unknown"
        raise DirectoryInUse(f"data directory {directory} is in use by process {owner}")


@contextmanager
def answering(directory: Path, url: str, bootstrap: str) -> Iterator[None]:
    """Say, until the end of the block, where the owner of the directory answers."""
    marker = directory / RUNNING
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_bytes(orjson.dumps({"url": url, "bootstrap": bootstrap}))
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def where_it_runs(directory: Path) -> str | None:
    """The address of the front that owns this directory; None if none does, also after it was killed."""
    if not is_owned(directory):
        return None
    try:
        found = orjson.loads((directory / RUNNING).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return str(found["url"])
