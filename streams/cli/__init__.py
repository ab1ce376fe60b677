"""The command line, a module for each kind of command, imported in the order of the help.

Every command that machines may read takes `--json`.
"""

from __future__ import annotations

# isort: off
from streams.cli import serve
from streams.cli import offline
from streams.cli import inspect
from streams.cli import importing
from streams.cli import deadletters
from streams.cli import people
from streams.cli import configuration

# isort: on
from streams.cli.application import app

__all__ = ["app", "configuration", "deadletters", "importing", "inspect", "main", "offline", "people", "serve"]


def main() -> None:
    """The entry point of `tocsin`."""
    app()
