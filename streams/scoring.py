"""The scorer that the settings ask for: in this process, or in several others of one thread each."""

from __future__ import annotations

import ctypes
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from threading import Lock
from typing import Protocol

from detectors.encoder import open_encoder
from detectors.scoring import Scorer, Scores
from streams.engines.tether import PR_SET_PDEATHSIG
from streams.logs import log_to_stderr
from streams.metrics import SIGNAL_FAILURES
from streams.scorers.chosen import chosen_signals
from streams.settings import Settings
from tocsin.contracts import Interaction

__all__ = ["Scoring", "ScoringProcesses", "open_scorer", "open_scoring"]

_of_this_process: list[Scorer] = []


class Scoring(Protocol):
    """Scores batches; called from several threads, blocks, and no text makes it raise."""

    @property
    def batch(self) -> int:
        """So many interactions of a call are used well."""

    def score(self, interactions: Sequence[Interaction]) -> list[Scores]:
        """Scores of interactions, in their order."""
        ...


class ScoringProcesses:
    """Scores in processes of one thread each: beyond some eight cores the interpreter's lock would hold threads up.

    A process that dies, as when the machine is out of memory, is started again and its interactions are scored anew.
    """

    def __init__(self, count: int, open_in_process: Callable[[], Scorer], batch: int) -> None:
        self.batch = batch
        self._count, self._open = count, open_in_process
        self._lock = Lock()
        self._pool = self._started()

    def score(self, interactions: Sequence[Interaction]) -> list[Scores]:
        """Scores of interactions, in their order.

        Raises:
            BrokenProcessPool: processes died twice over these.
        """
        pool = self._pool
        try:
            scores, failures = pool.submit(_score, interactions).result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:  # several threads find it broken, one makes another
                    pool.shutdown(wait=False)
                    self._pool = self._started()
            scores, failures = self._pool.submit(_score, interactions).result()
        for labels, count in failures.items():
            SIGNAL_FAILURES.labels(*labels).inc(count)
        return scores

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        start = os.getpid(), self._open
        return ProcessPoolExecutor(self._count, get_context("spawn"), initializer=_begin, initargs=start)


def open_scoring(settings: Settings) -> Scoring:
    """What the score stage scores with; otherwise as `open_scorer`."""
    scorer = open_scorer(settings)  # also where others compute: what is wrong is said here, in one line
    if settings.scoring.processes:
        return ScoringProcesses(settings.scoring.processes, partial(_open_elsewhere, settings), scorer.batch)
    return scorer


def _open_elsewhere(settings: Settings) -> Scorer:
    log_to_stderr(settings.log_level, settings.log_format)
    return open_scorer(settings)


def open_scorer(settings: Settings, threads: int = 1) -> Scorer:
    """A scorer in this process.

    Args:
        settings: the effective settings.
        threads: batches that it encodes at the same time; the score stage calls from several threads instead.

    Raises:
        EncoderError: the encoder cannot be opened.
        HeadMismatchError: its heads belong to another one.
        ConfigurationError: a configured signal cannot be opened.
    """
    scoring = settings.scoring
    encoder = open_encoder(
        scoring.backend, cache=settings.cache, threads=threads, precision=scoring.precision, model=scoring.model
    )
    return Scorer(encoder, chosen_signals(settings, load=True))


def _begin(parent: int, open_in_process: Callable[[], Scorer]) -> None:
    # Such a process waits on a pipe that it holds open itself, and would outlive a parent that was killed.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which finishes its batch
    _of_this_process.append(open_in_process())


def _score(interactions: Sequence[Interaction]) -> tuple[list[Scores], Counter[tuple[str, str]]]:
    """Scores, and how often each signal failed meanwhile: nobody asks this process for its metrics."""
    before = _failures()
    return _of_this_process[0].score(interactions), _failures() - before


def _failures() -> Counter[tuple[str, str]]:
    samples = (sample for metric in SIGNAL_FAILURES.collect() for sample in metric.samples)
    return Counter(
        {
            (sample.labels["signal"], sample.labels["error"]): int(sample.value)
            for sample in samples
            if sample.name.endswith("_total")
        }
    )
