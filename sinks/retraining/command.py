"""Starts a local program for each run, in the run's directory, at most once, and independent of our own life.

The program finds in its environment TOCSIN_RUN_ID, TOCSIN_CALLBACK_URL, TOCSIN_CALLBACK_TOKEN and TOCSIN_BUNDLE (a
directory), and none of our other TOCSIN_ variables, which may hold passwords. What it prints is in `stdout.log` and
`stderr.log`. To stop one: `kill -- -N` with the `process_group` of its `started.json`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sinks.retraining import launcher
from sinks.retraining.target import (
    Exited,
    Options,
    Refused,
    RetrainingConfigurationError,
    Run,
    Running,
    Started,
    Unavailable,
)

LAUNCH_SECONDS = 20.0


class CommandTarget:
    """Runs one command line.

    Args:
        command: program and arguments; a program with a slash in its name is taken from the current directory.
        runs_directory: holds one directory a run.

    Raises:
        RetrainingConfigurationError: there is no such program.
    """

    name = "command"

    def __init__(self, command: Sequence[str], runs_directory: Path) -> None:
        program = shutil.which(command[0]) if command else None
        if program is None:
            raise RetrainingConfigurationError("retraining.command: no such program, or it may not be executed")
        self._command = [os.path.abspath(program), *command[1:]]  # noqa: PTH100  (a link must keep its name)
        self._runs_directory = runs_directory.absolute()

    def start(self, run: Run, bundle: Path) -> Started | Refused | Unavailable:
        """Start the program; it goes on when we end, and a second call for the run finds it started."""
        directory = self._directory(run)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (directory / "stdout.log").open("ab") as out, (directory / "stderr.log").open("ab") as err:
                launched = subprocess.run(
                    [sys.executable, "-I", "-S", launcher.__file__, *self._command],
                    cwd=directory,
                    env=_environment(run, bundle),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    timeout=LAUNCH_SECONDS,
                    check=False,
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Unavailable(f"the run's directory or process could not be made: {type(error).__name__}")
        if launched.returncode == launcher.CANNOT_RUN:
            return Refused("no such program, or it may not be executed")
        return Started() if launched.returncode == 0 else Unavailable(f"the launcher ended with {launched.returncode}")

    def poll(self, run: Run) -> Running | Exited:
        """Read the exit code, or the lock that lasts as long as the program."""
        directory = self._directory(run)
        if (code := _exit_code(directory)) is not None:
            return Exited(code)
        if _is_locked(directory / launcher.STARTED):
            return Running()
        return Exited(_exit_code(directory))  # again: it may have ended between the two looks

    def _directory(self, run: Run) -> Path:
        return self._runs_directory / run.run_id


def build(options: Options) -> CommandTarget:
    """The target as configured."""
    return CommandTarget(options.command, options.runs_directory)


def _environment(run: Run, bundle: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    return ours | {
        "TOCSIN_RUN_ID": run.run_id,
        "TOCSIN_CALLBACK_URL": run.callback_url,
        "TOCSIN_CALLBACK_TOKEN": run.callback_token,
        "TOCSIN_BUNDLE": str(bundle.absolute()),
    }


def _exit_code(directory: Path) -> int | None:
    try:
        return int((directory / launcher.EXIT_CODE).read_text())
    except FileNotFoundError:
        return None


def _is_locked(marker: Path) -> bool:
    """Whether a program holds the lock; an empty or absent marker means that none was started."""
    try:
        if not marker.stat().st_size:
            return False
        with marker.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
