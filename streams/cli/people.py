"""Commands about people: are groups treated alike, and how good are the answers, by ratings and by a judge?"""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.application import (
    AsJson,
    ConfigFile,
    DataDirectory,
    app,
    failing_in_one_line,
    notes,
    print_json,
    print_table,
    screen,
    settings_from,
)

Application = Annotated[str, typer.Argument(help="Name of the application.")]


@app.command()
def fairness(
    application: Application, config: ConfigFile = None, data: DataDirectory = None, as_json: AsJson = False
) -> None:
    """Compare groups of people: every group beside the others, with intervals that hold however often one looks."""
    _print(["fairness", "swaps"], application, config, data, as_json)


@app.command()
def quality(
    application: Application,
    to_rate: Annotated[
        bool, typer.Option("--to-rate", help="Print a random sample of answers that nobody has rated, instead.")
    ] = False,
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Estimate how good the answers are, by people and by the judge; with verdicts, and whether the judge changed."""
    reports = ["to_rate"] if to_rate else ["quality", "verdicts", "agreement"]
    _print(reports, application, config, data, as_json)


def _print(reports: list[str], application: str, config: ConfigFile, data: DataDirectory, as_json: AsJson) -> None:
    with failing_in_one_line():
        from streams.reach import read_reports

        found = read_reports(settings_from(config, data), reports, application)
    if as_json:
        print_json(found)
        return
    if not any(found.values()):
        notes.print(f"nothing is known of {application} yet, or there is no such application", markup=False)
    for name, rows in found.items():
        if rows:
            screen.print(f"{name.replace('_', ' ')}:")
            print_table(rows)
