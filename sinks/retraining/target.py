"""What a retraining target is: a place that starts a run, at most once for each run id."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class RetrainingConfigurationError(Exception):
    """A setting under `retraining` is wrong; the message is one line that names it. The process stops at start-up."""


@dataclass(frozen=True, slots=True)
class Options:
    """What targets may be configured with; each takes what it needs.

    `secret` signs web hooks; `runs_directory` holds one directory a run, named by its id.
    """

    runs_directory: Path
    command: tuple[str, ...] = ()
    webhook_url: str = field(default="", repr=False)
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Run:
    """A run to start. `run_id` is a UUID; the job reports to `callback_url` with `callback_token`."""

    run_id: str
    incident_id: str
    application: str
    callback_url: str
    callback_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Started:
    """The run is started, now or by an earlier call."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The target will not start this run; trying again is in vain."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The target could not be asked; try again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Running:
    """As far as the target can tell the run goes on; its callback or the time limit decides."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The run ended. Without a callback before, it failed. No code: it was killed or never got going."""

    code: int | None


class Target(Protocol):
    """Called by the respond stage in a thread: either may block for seconds. Neither raises for what a run did."""

    @property
    def name(self) -> str:
        """The name under which the target is configured: its module's."""

    def start(self, run: Run, bundle: Path) -> Started | Refused | Unavailable:
        """Start a run on a bundle of data. Called again after a crash or `Unavailable`; starts nothing twice."""

    def poll(self, run: Run) -> Running | Exited:
        """How a started run is doing, so that a job which ends without calling back is noticed."""
