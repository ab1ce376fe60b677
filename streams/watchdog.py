"""Ends a worker that is stuck: messages wait, no commit advances, and it is not waiting for a store or broker either.

Consumers are known to stop after days, without an error and with a healthy heartbeat. Whoever supervises the process
starts it again, and nothing is lost by that. The watchdog is a thread with a connection of its own, so that it sees a
loop that hangs and a consumer that fetches no more, and it ends the process at once, because what is stuck may not end
in good order.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

from streams.metrics import LAG
from streams.topics import TopicError, committed_offsets
from streams.worker import Worker

logger = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
Offsets = Mapping[tuple[str, int], tuple[int, int]]


class Progress:
    """Judges looks at one worker; the clock is the caller's."""

    def __init__(self, stuck_seconds: float) -> None:
        self._stuck_seconds = stuck_seconds
        self._seen: object = None
        self._since = 0.0

    def is_stuck(self, offsets: Offsets, tries: int, at: float) -> bool:
        """Whether messages have waited for too long without any progress.

        Args:
            offsets: committed and end, of each partition that the worker is to serve.
            tries: the worker's.
            at: seconds on a monotone clock.
        """
        seen = ({place: committed for place, (committed, _) in offsets.items()}, tries)
        waits = any(end > committed for committed, end in offsets.values())
        if not waits or seen != self._seen:
            self._seen, self._since = seen, at
        return at - self._since > self._stuck_seconds


class Watchdog:
    """Looks after one worker, from `with` to the end of its block.

    Args:
        worker: started; its consumer group is its id.
        bootstrap: the broker's address.
        stuck_seconds: without progress for so long, it ends; 0: never, and only the lag is measured.
        end: what ends it, told why; by default the process.
    """

    def __init__(
        self, worker: Worker, bootstrap: str, stuck_seconds: float, end: Callable[[str], None] | None = None
    ) -> None:
        self._worker, self._bootstrap = worker, bootstrap
        self._limit, self._end = stuck_seconds, end or end_process
        self._progress, self._stopped = Progress(stuck_seconds), threading.Event()
        self._every = min(LOOK_SECONDS, stuck_seconds / 4) if stuck_seconds else LOOK_SECONDS

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name=f"watchdog of {self._worker.conf.id}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        group = self._worker.conf.id
        while not self._stopped.wait(self._every):
            try:
                offsets = committed_offsets(self._bootstrap, group, self._worker.handled)
            except TopicError:  # then nobody could make progress
                self._progress = Progress(self._limit)
                continue
            for topic in self._worker.handled:
                LAG.labels(topic).set(sum(max(end - at, 0) for (of, _), (at, end) in offsets.items() if of == topic))
            own = {place: pair for place, pair in offsets.items() if self._worker.holds(*place)}
            if not own and not self._worker.is_member:  # not a spare one: its place in the group was lost
                own = offsets
            stuck = self._progress.is_stuck(own, self._worker.tries, time.monotonic())
            if stuck and self._limit and not self._stopped.is_set():
                self._end(f"{group} is stuck: messages wait, and nothing has moved for {self._limit:g} s")
                return


def end_process(why: str) -> None:
    """Exit 1 at once, for whoever supervises to start again; what was in hand comes again."""
    logger.critical("%s; the process ends, to be started again", why)
    logging.shutdown()
    os._exit(1)
