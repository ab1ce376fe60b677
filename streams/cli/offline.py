"""Commands on files, without a running system."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.application import (
    AsJson,
    ConfigFile,
    DataDirectory,
    app,
    failing_in_one_line,
    notes,
    print_json,
    screen,
    settings_from,
)
from streams.settings import ConfigurationError


@app.command()
def score(
    file: Annotated[
        Path,
        typer.Argument(help='Interactions or {"text": …}: JSON lines (or .gz), or Parquet; - reads standard input.'),
    ],
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Write what backtest reads without encoding: vectors, and no texts.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Score a file: one JSON object a line with every signal, in the order of the input."""
    with failing_in_one_line():
        from streams.offline.records import open_records
        from streams.offline.scoring import score_records

        settings, read, unreadable = settings_from(config), 0, 0
        with open_records(file) as records:
            for scored in score_records(records, settings, vectors=vectors):
                print_json(scored)
                if "error" in scored:
                    unreadable += 1
                else:
                    read += 1
        if unreadable:
            notes.print(f'{unreadable:,} lines could not be read: "error" in their place says why ({read:,} were read)')
            raise typer.Exit(0 if read else 1)


@app.command()
def backtest(
    file: Annotated[
        Path,
        typer.Argument(
            help="Interactions in the order of time: JSON lines (or .gz), or Parquet; - reads standard input."
        ),
    ],
    reference_first: Annotated[
        int | None,
        typer.Option(
            "--reference-first", metavar="N", help="The first N interactions make the reference; 2000 at least."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="FILE", help="Another file of interactions makes the reference."),
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out and count what cannot be read, instead of stopping.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, also where an interrupted run could go on.")
    ] = False,
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Replay a file through the detectors: the pages that it would have sent, then a summary.

    Lines are interactions as services publish them, or carry what tocsin stores (prompt_vector, response_vector,
    signals, encoder), as `tocsin sql "SELECT * FROM interactions FINAL" --json` prints them: those need no encoding.
    The same command goes on where a killed one stood. Try another budget with --config. More: docs/backtest.md.
    """
    with failing_in_one_line():
        if (reference_first is None) == (reference is None):
            raise ConfigurationError(
                "backtest: say what is ordinary: --reference-first N (the first N interactions) or --reference FILE"
            )
        from streams.offline.backtest import Plan, backtest
        from streams.offline.report import Bar, print_report

        plan = Plan(file, reference, reference_first or 0, fresh, skip_unreadable)
        found: list[dict[str, Any]] = []
        with Bar(notes) as bar:
            for each in backtest(plan, settings_from(config, data), bar):
                if as_json:
                    print_json(each)
                    sys.stdout.flush()  # pages are read as they are found
                else:
                    found.append(each)
        if found:
            print_report(screen, found[:-1], found[-1])
