"""`tocsin import` and `tocsin replay FILE`: a file's interactions, published to the running system.

What is acknowledged is written down, in the data directory by the digest of the file: the same command goes on where a
killed one stood. What it had sent but not written down is sent again; ids make that harmless.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import orjson
from tenacity import RetryCallState, Retrying, retry_if_result
from tenacity.wait import wait_exponential

from streams.engines import EngineError
from streams.offline.lines import Lines, Reading, Ready, Refused
from streams.offline.records import Records, open_records
from streams.ownership import where_it_runs
from streams.settings import ConfigurationError, Settings
from tocsin.transports import Message, Outcome, Transport
from tocsin.transports.http import HttpTransport
from tocsin.transports.kafka import KafkaTransport

FOLDER = "imports"  # in the data directory
logger = logging.getLogger(__name__)

BATCH = 200
MOST_TOLD = 100
TELLING_ATTEMPT = 4  # about a second after the first
NOT_ALLOWED = ("HTTP 401", "HTTP 403")


@dataclass(frozen=True)
class Plan:
    """What to publish.

    Attributes:
        file: its name; `-` is standard input, which cannot go on after a kill.
        reading: how to understand its records.
        speed: seconds of the file in a second; 0 as fast as it is taken.
        fresh: forget what an interrupted run left.
    """

    file: Path
    reading: Reading
    speed: float = 0.0
    fresh: bool = False


@dataclass
class Progress:
    """How far it is; what a checkpoint keeps.

    Attributes:
        taken: records dealt with.
        published: interactions that are durable.
        refused: records that were not published, by reason.
        run: see `Reading`.
    """

    taken: int = 0
    published: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    run: str = ""


Onlooker = Callable[[Progress, float | None], None]
"""Told after each batch, with the fraction of the file that was read, where that is known."""


def open_transport(settings: Settings, url: str = "") -> Transport:
    """The way to the running system: a gateway, the one of this data directory, or the broker that is configured.

    Raises:
        ConfigurationError: there is none.
    """
    gateway = url or where_it_runs(settings.data_directory)
    if gateway:
        return HttpTransport(gateway, os.environ.get("TOCSIN_API_KEY"))
    if settings.broker.bootstrap:
        return KafkaTransport(settings.broker.bootstrap.split(","), {})
    raise ConfigurationError("nothing runs here: start `tocsin up`, set broker.bootstrap, or name a gateway with --url")


def check_file(plan: Plan, settings: Settings) -> tuple[Progress, list[Refused]]:
    """What publishing a file would come to, without doing it; the first hundred records that are refused."""
    progress = Progress(run=plan.reading.run)
    told: list[Refused] = []
    with open_records(plan.file) as records:
        lines = Lines(plan.reading, settings.limits, _file_time(plan.file))
        for record in records:
            progress.taken += 1
            found = lines.read(record, datetime.now(UTC))
            if isinstance(found, Refused):
                progress.refused[found.reason] += 1
                told += [found] if len(told) < MOST_TOLD else []
            else:
                progress.published += 1
    return progress, told


def publish_file(
    plan: Plan, settings: Settings, transport: Transport, onlooker: Onlooker
) -> tuple[Progress, list[Refused]]:
    """Publish a file; returns when all of it is durable, with the first hundred records that were refused.

    Raises:
        ConfigurationError: the file cannot be read.
        EngineError: the system does not allow it.
    """
    told: list[Refused] = []
    with open_records(plan.file) as records:
        checkpoint = _Checkpoint(_place(plan, settings) if records.lasting else None)
        progress = Progress(run=plan.reading.run) if plan.fresh else checkpoint.load(plan.reading.run)
        reading = replace(plan.reading, run=progress.run)
        lines = Lines(reading, settings.limits, _file_time(plan.file))
        records.skip(progress.taken)
        for batch, refused, taken in _batches(records, lines, plan.speed):
            _deliver(transport, batch, progress)
            progress.taken += taken
            progress.refused.update(each.reason for each in refused)
            told += refused[: MOST_TOLD - len(told)]
            checkpoint.save(progress)
            onlooker(progress, records.fraction)
        checkpoint.remove()
    return progress, told


def _batches(records: Records, lines: Lines, speed: float) -> Iterator[tuple[list[Message], list[Refused], int]]:
    """Messages with the records refused among them and the count of both; at a speed, each when its time has come."""
    batch: list[Message] = []
    refused: list[Refused] = []
    pace = _Pace(speed)
    for record in records:
        found = lines.read(record, datetime.now(UTC))
        if isinstance(found, Ready) and (seconds := pace.early(found.occurred_at)) > 0:
            if batch or refused:
                yield batch, refused, len(batch) + len(refused)
                batch, refused = [], []
            time.sleep(seconds)
            found = lines.read(record, datetime.now(UTC))  # its time may be the moment of publishing
        if isinstance(found, Ready):
            batch.append(found.message)
        else:
            refused.append(found)
        if len(batch) + len(refused) >= BATCH:
            yield batch, refused, len(batch) + len(refused)
            batch, refused = [], []
    if batch or refused:
        yield batch, refused, len(batch) + len(refused)


class _Pace:
    """The clock of a replay, which runs `speed` times as fast as ours from its first interaction on."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first: datetime | None = None

    def early(self, occurred_at: datetime) -> float:
        """Seconds until an interaction's time comes."""
        if not self._speed:
            return 0.0
        if self._first is None:
            self._first, self._began = occurred_at, time.monotonic()
        ahead = (occurred_at - self._first) / timedelta(seconds=self._speed)
        return ahead - (time.monotonic() - self._began)


def _deliver(transport: Transport, messages: Sequence[Message], progress: Progress) -> None:
    """Return when every message is durable or refused; waits as long as the other side cannot take them."""
    waiting = messages

    def deliver() -> Outcome:
        nonlocal waiting
        outcome = transport.deliver(waiting)
        waiting = outcome.undelivered
        progress.published += outcome.acknowledged
        if outcome.refused:
            if outcome.reason in NOT_ALLOWED:
                raise EngineError(
                    f"the gateway answers {outcome.reason}; set TOCSIN_API_KEY to a key with scope publish"
                )
            progress.refused["rejected"] += outcome.refused
        return outcome

    if messages:
        again = retry_if_result(lambda outcome: bool(outcome.undelivered))
        Retrying(retry=again, wait=_patience, before_sleep=_tell)(deliver)


def _tell(state: RetryCallState) -> None:
    """Once for an outage of a second or more."""
    if state.attempt_number == TELLING_ATTEMPT and state.outcome:
        logger.warning(
            "nothing is taken (%s); waiting. Ctrl-C ends it, and the same command goes on",
            state.outcome.result().reason,
        )


def _patience(state: RetryCallState) -> float:
    asked = state.outcome.result().retry_after_seconds if state.outcome else 0.0
    return max(asked, wait_exponential(multiplier=0.2, max=5)(state))


class _Checkpoint:
    """A place on disk for how far it is; none for a pipe."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def load(self, run: str) -> Progress:
        """Where an interrupted run stood, or the beginning of this one."""
        if self._file is None or not self._file.exists():
            return Progress(run=run)
        said: dict[str, Any] = orjson.loads(self._file.read_bytes())
        return Progress(**{**said, "refused": Counter(said["refused"])})

    def save(self, progress: Progress) -> None:
        """Write it down, whole or not at all."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self._file.with_suffix(".new")
            new.write_bytes(orjson.dumps(vars(progress) | {"refused": dict(progress.refused)}))
            new.replace(self._file)
        except OSError as error:
            raise ConfigurationError(f"{self._file}: {error.strerror}; name another place with --data") from None

    def remove(self) -> None:
        """It is done."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _place(plan: Plan, settings: Settings) -> Path:
    """Named by what the file holds and how it is read."""
    with plan.file.open("rb") as opened:
        content = file_digest(opened, "sha256").hexdigest()
    reading = asdict(plan.reading) | {"run": bool(plan.reading.run)}
    key = orjson.dumps([content, reading], option=orjson.OPT_SORT_KEYS)
    return settings.data_directory / FOLDER / f"{sha256(key).hexdigest()[:16]}.json"


def _file_time(file: Path) -> datetime:
    """When the file was last written; of a pipe, now."""
    seconds = file.stat().st_mtime if file.is_file() else time.time()
    return datetime.fromtimestamp(seconds, UTC)
