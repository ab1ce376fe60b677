"""Commands that publish a file's interactions to the running system."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from streams.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from streams.offline.importing import Onlooker, Plan, Progress
    from streams.offline.lines import Reading, Refused

MOST_SHOWN = 20

File = typer.Argument(
    metavar="FILE", help="JSON lines or CSV with names in its first line (or .gz), or Parquet; - reads JSON lines.",
)  # fmt: skip
Application = Annotated[str, typer.Option("--application", help="Of lines that name none.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Where a field of an interaction is in the file, such as prompt=question; may be given again.",
    ),
]
KnownOnly = Annotated[
    bool, typer.Option("--ignore-unknown", help="Leave out columns that are no field, instead of refusing the line.")
]
AnyAge = Annotated[bool, typer.Option("--any-age", help="Also what is older than limits.retention_days.")]
ShiftToNow = Annotated[
    bool,
    typer.Option("--shift-to-now", help="occurred_at is when it is published: new traffic, with ids of its own."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew, also where an interrupted run could go on.")]
Url = Annotated[str, typer.Option("--url", metavar="URL", help="A gateway; by default what runs on this data.")]


@app.command("import")
def import_file(
    file: Annotated[Path, File],
    application: Application = "",
    columns: Columns = None,
    ignore_unknown: KnownOnly = False,
    any_age: AnyAge = False,
    shift_to_now: ShiftToNow = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be refused, and why.")] = False,
    fresh: Fresh = False,
    url: Url = "",
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Publish a file of interactions to the running system; exit 1 if lines were refused. More: docs/ingest.md.

    The same command goes on where a killed one stood. Lines without an id get one from their place and content, so that
    a file that is imported again is stored once.
    """
    with failing_in_one_line():
        from streams.offline.importing import Plan

        reading = reading_of(application, columns, ignore_unknown=ignore_unknown, any_age=any_age, anew=shift_to_now)
        run_plan(Plan(file, reading, fresh=fresh), settings_from(config, data), url, dry_run=dry_run, as_json=as_json)


def reading_of(
    application: str, columns: list[str] | None, *, ignore_unknown: bool, any_age: bool, anew: bool
) -> Reading:
    """What the options say about the lines."""
    from streams.offline.lines import Reading

    mapped = {}
    for each in columns or ():
        name, equals, column = each.partition("=")
        if not (name and equals and column):
            raise ConfigurationError(f"--map {each}: say FIELD=COLUMN, such as prompt=question")
        mapped[name] = column
    run = format(time.time_ns() // 1_000_000, "x") if anew else ""
    return Reading(application, mapped, known_only=ignore_unknown, any_age=any_age, run=run)


def run_plan(plan: Plan, settings: Settings, url: str, *, dry_run: bool, as_json: bool) -> None:
    """Publish, or only look, and say what became of it; exit 1 if lines were refused."""
    from streams.offline.importing import check_file, open_transport, publish_file

    began = time.monotonic()
    if dry_run:
        progress, refused = check_file(plan, settings)
    else:
        transport = open_transport(settings, url)
        with _bar() as onlooker:
            progress, refused = publish_file(plan, settings, transport, onlooker)
        transport.close()
    seconds = round(time.monotonic() - began, 3)
    _tell(progress, refused, seconds, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(1 if progress.refused else 0)


def _tell(progress: Progress, refused: list[Refused], seconds: float, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        summary: dict[str, Any] = {
            "dry_run": dry_run,
            "records": progress.taken,
            "published": 0 if dry_run else progress.published,
            "refused": dict(progress.refused),
            "seconds": seconds,
            "lines": [{"line": each.number, "reason": each.reason, "detail": each.detail} for each in refused],
        }
        print_json(summary)
        return
    alike: dict[tuple[str, str], list[int]] = {}
    for each in refused:
        alike.setdefault((each.reason, each.detail), []).append(each.number)
    for (reason, detail), lines in list(alike.items())[:MOST_SHOWN]:
        more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
        screen.print(f"line {lines[0]}{more}  {reason}  {detail}", markup=False, soft_wrap=True)
    if (hidden := progress.refused.total() - len(refused)) > 0:
        screen.print(f"and {hidden:,} more lines")
    what = "would be published" if dry_run else f"published in {seconds:.1f} s"
    reasons = ", ".join(f"{count} {reason}" for reason, count in progress.refused.items())
    screen.print(f"{progress.published:,} {what}; {reasons or 'none'} refused", markup=False, soft_wrap=True)


@contextmanager
def _bar() -> Iterator[Onlooker]:
    """A bar on a terminal."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.fields[told]}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=notes, disable=not notes.is_terminal)
    task = bar.add_task("", total=1.0, told="publishing")

    def advanced(progress: Any, fraction: float | None) -> None:
        refused = progress.refused.total()
        told = f"{progress.published:,} published" + (f", {refused:,} refused" if refused else "")
        bar.update(task, completed=fraction or 0.0, told=told)

    with bar:
        yield advanced
