"""A directory of objects, each written whole or not at all: what lies under the object store.

A put is durable when it returns: the bytes go to a temporary file, are synchronised, renamed into place, and the
directory is synchronised. One thread of one process owns a directory, so comparing a version and replacing it is one
step. (Threads were tried: waiting for the interpreter costs more than two synchronisations of a usual disk.)
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

INCOMING = ".incoming"


class KeyRefused(Exception):
    """The key cannot be a path under the directory; the request is at fault."""


class NoSuchObject(Exception):
    """Nothing is stored under the key."""


class VersionConflict(Exception):
    """The object is not at the version that the writer expected; read it again."""


@dataclass(frozen=True)
class Entry:
    """One stored object. `etag` changes with every put; `modified` is in seconds since 1970."""

    key: str
    size: int
    modified: float
    etag: str


@dataclass
class Listing:
    """One page of keys. `after` continues it; None when it is complete."""

    entries: list[Entry] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    after: str | None = None


def _entry(key: str, status: os.stat_result) -> Entry:
    # every put makes a new inode, so this names a version without reading the content
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return Entry(key, status.st_size, status.st_mtime, etag)


def _synchronise(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Objects:
    """Objects by key under one directory, for one thread.

    Raises:
        OSError: the directory cannot be made, read or written (a full disk included); nothing is half-written.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._incoming = directory / INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        # a broker lists on every fetch, too often to walk the directory
        self._entries = {entry.key: entry for entry in self._walk()}
        self._keys = sorted(self._entries)

    def _walk(self) -> Iterator[Entry]:
        for folder, folders, files in os.walk(self._root):
            if INCOMING in folders:
                folders.remove(INCOMING)
            for name in files:
                path = Path(folder) / name
                yield _entry(path.relative_to(self._root).as_posix(), path.stat())

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..", INCOMING) or "\0" in part or len(part.encode()) > 255 for part in parts):
            raise KeyRefused("a key is made of non-empty names, none of them . or ..")
        return self._root.joinpath(*parts)

    def head(self, key: str) -> Entry:
        """Describe an object, or raise `NoSuchObject`."""
        try:
            return self._entries[key]
        except KeyError:
            raise NoSuchObject(key) from None

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` up to `stop`, by default the end, or raise `NoSuchObject`."""
        entry = self.head(key)
        with self._path(key).open("rb") as file:
            file.seek(start)
            return file.read((entry.size if stop is None else stop) - start)

    def put(self, key: str, body: bytes, expected: str | None = None, only_new: bool = False) -> Entry:
        """Store durably: only over version `expected` if that is given, only under a free key if `only_new`.

        Raises:
            VersionConflict: the condition does not hold.
            KeyRefused: the key cannot be a path.
            OSError: not stored, or not known to be durable; what was there before is whole.
        """
        path, current = self._path(key), self._entries.get(key)
        if (only_new and current) or (expected is not None and (current is None or current.etag != expected)):
            raise VersionConflict(key)
        self._make(path.parent)
        stored = self._write(key, path, body)
        if current is None:
            insort(self._keys, key)
        self._entries[key] = stored
        _synchronise(path.parent)
        return stored

    def _write(self, key: str, path: Path, body: bytes) -> Entry:
        descriptor, temporary = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.fdatasync(file.fileno())
                stored = _entry(key, os.fstat(file.fileno()))
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        return stored

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(exist_ok=True, mode=0o700)
            _synchronise(directory.parent)

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
        self._path(key).unlink(missing_ok=True)
        if self._entries.pop(key, None):
            del self._keys[bisect_left(self._keys, key)]

    def list(self, prefix: str, delimiter: str = "", after: str = "", limit: int = 1000) -> Listing:
        """Keys under `prefix` behind `after`, in order; with a delimiter, deeper ones folded into prefixes."""
        page, last = Listing(), after
        position = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        while position < len(self._keys) and self._keys[position].startswith(prefix):
            if len(page.entries) + len(page.prefixes) >= limit:
                page.after = last
                break
            key = self._keys[position]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                page.entries.append(self._entries[key])
                last, position = key, position + 1
            else:
                page.prefixes.append(key[: cut + len(delimiter)])
                last = page.prefixes[-1] + chr(0x10FFFF)  # behind every key that is folded into this prefix
                position = bisect_right(self._keys, last)
        return page
