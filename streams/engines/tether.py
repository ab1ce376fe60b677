"""Start a program that ends when the one that started it does, however that ends.

`python tether.py PARENT PROGRAM ARGUMENT…`, PARENT being the starter's process id. The kernel then sends SIGKILL to the
program when the *thread* that started it is gone. A small program of its own, because running Python between fork and
exec (`preexec_fn`) is unsafe in a process with threads, and fatal in one that has chDB open.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """The command line that starts a program tied to this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """Tie this process to its parent and become the program."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # the parent ended before it could be asked for
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 – no shell is meant


if __name__ == "__main__":
    main()
