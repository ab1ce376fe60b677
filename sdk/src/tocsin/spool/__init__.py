"""Messages that wait on disk for a broker that is away; what a process leaves behind, another one delivers.

    DIRECTORY/BOX/lock              held by the process that the box belongs to, for as long as that lives
    DIRECTORY/BOX/00000001.spool    messages in their order

A box whose lock is free belongs to nobody any more: whoever finds it takes its messages over. So several processes may
share a directory, and a service that was killed finds at its next start what it had not delivered. A segment that was
delivered in part comes again as a whole: ids make that harmless.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tocsin.spool.boxes import Boxes, segment_files, sync_directory
from tocsin.spool.segment import Segment, Writer, lines_of
from tocsin.transports import Message

__all__ = ["Spool", "SpoolFull"]

SEGMENT_BYTES = 1_000_000


class SpoolFull(OSError):
    """There is no room for these messages, by the limit that was set."""


class Spool:
    """A queue on disk: `append` at one end; `take` and then `settle` at the other, one batch at a time.

    Any thread may call; a call may wait for the disk. Nothing is made on disk before the first message. Without
    `keep_all` the oldest messages make room for new ones, and what is written survives the end of the process, however
    it ends. With `keep_all` a full spool refuses instead, and what is written survives the end of the machine too.

    The limit is for the directory; each of several processes that share it may have two segments more.

    Attributes:
        waiting: messages of this process that are on disk and not settled.
        dropped: messages that had to make room, or that could not be read again.
        recovered: messages that other processes had left behind.
    """

    def __init__(self, directory: Path, max_bytes: int, *, keep_all: bool = False) -> None:
        self._max_bytes, self._keep_all = max_bytes, keep_all
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // 8)
        self._boxes = Boxes(directory)
        self._box: Path | None = None
        self._lock = threading.Lock()
        self._segments: deque[Segment] = deque()  # the oldest first
        self._writer: Writer | None = None
        self._in_hand: Segment | None = None
        self._made = self._foreign_bytes = 0
        self.waiting = self.dropped = self.recovered = 0

    @property
    def size_bytes(self) -> int:
        """The size of the segments of this process."""
        return sum(segment.size for segment in tuple(self._segments))

    @property
    def untaken(self) -> int:
        """Messages that `take` has not handed out yet."""
        return sum(segment.untaken for segment in tuple(self._segments))

    @property
    def has_room(self) -> bool:
        """Whether another segment would fit."""
        return self.size_bytes + self._segment_bytes <= self._room

    def append(self, messages: Sequence[Message]) -> None:
        """Put messages at the end: all of them, or none.

        Raises:
            SpoolFull: there is no room, by the limit that was set.
            OSError: the disk is full, or cannot be written.
        """
        lines = lines_of(messages)
        with self._lock:
            self._make_room(len(lines))
            try:
                self._open_writer().append(lines, len(messages), sync=self._keep_all)
            except OSError:
                self._close_writer()
                raise
            self.waiting += len(messages)

    def take(self, limit: int) -> list[Message]:
        """The oldest messages, up to `limit`; none if none wait. What was taken before must be settled."""
        with self._lock:
            while self._segments:
                segment = self._segments[0]
                messages, unreadable = segment.next(limit)
                self.waiting -= unreadable
                self.dropped += unreadable
                if messages:
                    self._in_hand = segment
                    return messages
                if not unreadable and not self._finished(segment):
                    break
            return []

    def settle(self, count: int) -> None:
        """So many of the messages that were taken are done with; when all are, their space is given back."""
        with self._lock:
            segment = self._in_hand
            if segment is None:
                return
            self.waiting -= count
            segment.settled += count
            if segment.settled == segment.taken:
                self._in_hand = None
                if segment in self._segments:
                    self._finished(segment)

    def orphaned(self) -> bool:
        """Whether there is something that `recover` would take over."""
        return self._boxes.has_orphans()

    def recover(self) -> int:
        """Take over what other processes have left behind, to be delivered first; the number of messages."""
        found: list[Segment] = []
        for box in self._boxes.take_orphans():
            segments = [segment for path in segment_files(box) if (segment := Segment.found(path)).count]
            if not segments:
                self._boxes.release(box)
            found += segments
        count = sum(segment.count for segment in found)
        with self._lock:
            self._segments.extendleft(reversed(found))
            self.waiting += count
            self.recovered += count
        return count

    def close(self) -> None:
        """Let go of everything; messages that wait stay for whoever comes next."""
        with self._lock:
            segment, self._in_hand = self._in_hand, None
            if segment is not None and segment not in self._segments:  # its place on disk was needed meanwhile
                self.dropped += segment.taken - segment.settled
                self.waiting -= segment.taken - segment.settled
            self._close_writer()
            self._segments.clear()
            self._boxes.release_all()

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent. Takes no lock, which a thread may have held."""
        self._close_writer()
        self._boxes.abandon()

    @property
    def _room(self) -> int:
        """What our segments may take up: two at least, also where others have filled the directory."""
        return max(self._max_bytes - self._foreign_bytes, 2 * self._segment_bytes)

    def _make_room(self, size: int) -> None:
        """Drop the oldest segments until `size` more bytes fit."""
        if size > self._room or (self._keep_all and self.size_bytes + size > self._room):
            raise SpoolFull(f"{self._max_bytes} bytes are the limit")
        while self._segments and self.size_bytes + size > self._room:
            oldest = self._segments[0]
            self.waiting -= oldest.untaken
            self.dropped += oldest.untaken
            self._remove(oldest)

    def _open_writer(self) -> Writer:
        """The segment that is written to; a new one when that is full."""
        if self._writer is not None and self._writer.segment.size >= self._segment_bytes:
            self._close_writer()
        if self._writer is None:
            self._box = self._box or self._boxes.new()
            self._made += 1
            self._writer = Writer(self._box / f"{self._made:08}.spool")
            self._segments.append(self._writer.segment)
            self._foreign_bytes = self._boxes.foreign_bytes()  # once for a segment is often enough
            if self._keep_all:
                sync_directory(self._box)
        return self._writer

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _finished(self, segment: Segment) -> bool:
        """Give back the space of a segment that was read to its end; whether it is gone now."""
        if segment.read < segment.size:
            return False
        if self._writer is None or segment is not self._writer.segment:
            self._remove(segment)
            return True
        with suppress(OSError):  # then it comes again after a crash
            self._writer.empty()
        return False

    def _remove(self, segment: Segment) -> None:
        if self._writer is not None and segment is self._writer.segment:
            self._close_writer()
        self._segments.remove(segment)
        with suppress(OSError):  # the same
            segment.path.unlink(missing_ok=True)
        box = segment.path.parent
        if box != self._box and all(other.path.parent != box for other in self._segments):
            self._boxes.release(box)
