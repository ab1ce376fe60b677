"""A file of messages: a line each, made of a checksum (CRC-32) and JSON `[topic, key, value]`."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tocsin.spool.boxes import PRIVATE_FILE
from tocsin.transports import Message

TAKE_BYTES = 2_000_000


@dataclass(eq=False)
class Segment:
    """One file: `count` messages, `size` bytes. Handed out are `taken` messages, `read` bytes; done are `settled`."""

    path: Path
    size: int = 0
    count: int = 0
    read: int = 0
    taken: int = 0
    settled: int = 0

    @classmethod
    def found(cls, path: Path) -> Segment:
        """What another process wrote. After the last whole line is what it was writing when it died."""
        segment = cls(path)
        with suppress(OSError), path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    segment.size += len(line)
                    segment.count += 1
        return segment

    @property
    def untaken(self) -> int:
        """Messages that were not handed out."""
        return self.count - self.taken

    def next(self, limit: int) -> tuple[list[Message], int]:
        """The next messages, up to `limit`, and how many could not be read; at least one of anything if any are left.

        A file that somebody has removed or cut off has no more messages: the rest could not be read.
        """
        messages: list[Message] = []
        unreadable = size = 0
        try:
            with self.path.open("rb") as file:
                file.seek(self.read)
                while self.read < self.size and len(messages) < limit and size < TAKE_BYTES:
                    line = file.readline(self.size - self.read)
                    if not line:
                        raise EOFError
                    self.read += len(line)
                    size += len(line)
                    message = _message(line)
                    if message is None:
                        unreadable += 1
                    else:
                        messages.append(message)
        except (OSError, EOFError):
            self.read = self.size
            unreadable = self.untaken - len(messages)
        self.taken += len(messages) + unreadable
        self.settled += unreadable
        return messages, unreadable


class Writer:
    """Appends to a new segment. Raises `OSError` as the disk does; then nothing of that call counts."""

    def __init__(self, path: Path) -> None:
        self.segment = Segment(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, PRIVATE_FILE)

    def append(self, lines: bytes, count: int, *, sync: bool) -> None:
        """Write lines, and with `sync` wait until they are on the disk itself."""
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if sync:
                os.fsync(self._file)
        except OSError:
            with suppress(OSError):  # else half a line is left, at the end, which readers pass over
                os.ftruncate(self._file, self.segment.size)
            raise
        self.segment.size += len(lines)
        self.segment.count += count

    def empty(self) -> None:
        """Give back the space of what was written, all of which is done with."""
        os.ftruncate(self._file, 0)
        segment = self.segment
        segment.size = segment.count = segment.read = segment.taken = segment.settled = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def lines_of(messages: Sequence[Message]) -> bytes:
    """The lines that stand for messages, each of which is UTF-8 in key and value."""
    return b"".join(map(_line, messages))


def _line(message: Message) -> bytes:
    body = json.dumps((message.topic, message.key.decode(), message.value.decode()), ensure_ascii=False).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _message(line: bytes) -> Message | None:
    """What a line says; None if it is not what was written."""
    body = line[9:-1]
    if line[:9] != b"%08x " % zlib.crc32(body):
        return None
    topic, key, value = json.loads(body)
    return Message(topic, key.encode(), value.encode())
