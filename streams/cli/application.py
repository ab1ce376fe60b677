"""What the commands share: the program, options, output, and how a command fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from streams.settings import ConfigurationError, Settings, load

app = typer.Typer(
    name="tocsin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file; by default ./tocsin.toml if it is there.")
]
DataDirectory = Annotated[Path | None, typer.Option("--data", help="Data directory; overrides data_directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of gateway and pages; overrides gateway.port.")]

WIDEST_CELL = 120

screen = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
notes = Console(stderr=True, highlight=False)


def settings_from(config: Path | None, data: Path | None = None, port: int | None = None) -> Settings:
    """The settings, with the flags that many commands share."""
    flags: dict[str, Any] = {}
    if data is not None:
        flags["data_directory"] = data
    if port is not None:
        flags["gateway"] = {"port": port}
    return load(config, flags)[0]


def _say_version(wanted: bool) -> None:
    if wanted:
        screen.print(f"tocsin {version('tocsin-server')}")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Watches LLM applications in production and pages people within a false-alarm budget."""


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What a person can mend ends the command with one line: exit 2 for the configuration, 1 for the rest."""
    try:
        yield
    except _misconfigured() as error:  # what is caught is looked up, and imported, when something was raised
        notes.print(f"tocsin: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except _unavailable() as error:
        notes.print(f"tocsin: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _misconfigured() -> tuple[type[Exception], ...]:
    from sinks.notification import NotificationConfigurationError
    from sinks.retraining import RetrainingConfigurationError

    return ConfigurationError, NotificationConfigurationError, RetrainingConfigurationError


def _unavailable() -> tuple[type[Exception], ...]:
    from detectors.encoder import EncoderError
    from sinks.clickhouse import StoreError
    from streams.ownership import EngineError
    from streams.topics import TopicError

    return EncoderError, StoreError, EngineError, TopicError


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows for people: the names of the first are the columns."""
    if not rows:
        screen.print("no rows")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    screen.print(table)


def _cell(value: object) -> str:
    from rich.markup import escape

    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…")
