"""The command line, a module for each kind of command. Every command that machines may read takes `--json`."""

from __future__ import annotations

from streams.cli import serve  # isort: split  (the order of the imports is that of the help)
from streams.cli import offline  # isort: split
from streams.cli import inspect  # isort: split
from streams.cli import configuration
from streams.cli.application import app

__all__ = ["app", "configuration", "inspect", "main", "offline", "serve"]


def main() -> None:
    """The entry point of `tocsin`."""
    app()
