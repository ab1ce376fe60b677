"""Runs one program once in a directory and leaves its exit code there. Started as a script by `command.py`.

    python -I -S launcher.py PROGRAM [ARGUMENT …]      in the run's directory, as leader of a session of its own

`started.json` is lock and memory in one: locked for as long as the program lives (the program inherits the lock, so it
outlives a killed launcher), and not empty once the program was started. A lock goes with its process, never stale.
Only the standard library is used: this process stays for as long as the run.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

STARTED, EXIT_CODE = "started.json", "exit_code"
CANNOT_RUN = 127


def main(command: list[str]) -> int:
    """Start the program unless it was started before; return at once, and wait for its end in a process of our own."""
    marker = os.open(STARTED, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    if os.fstat(marker).st_size:
        return 0
    if shutil.which(command[0]) is None:
        return CANNOT_RUN
    # Marked before it runs: a crash in between loses a run, which is noticed, and never makes two, which would not be.
    note = {"process_group": os.getpid(), "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    os.write(marker, json.dumps(note).encode())
    os.fsync(marker)
    if os.fork():
        return 0
    try:
        code = subprocess.run(command, pass_fds=[marker], check=False).returncode
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        code = CANNOT_RUN
    draft = Path(f"{EXIT_CODE}.draft")
    draft.write_text(str(code))
    draft.replace(EXIT_CODE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
