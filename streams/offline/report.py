"""A backtest as people read it: a bar while it runs, a table of the pages, what it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from streams.offline.backtest import Onlooker
from streams.offline.replay import Standing

Finding = Mapping[str, Any]


class Bar(Onlooker):
    """A bar on a terminal; elsewhere just a word where a run goes on. A context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            redirect_stdout=False,  # what is printed there is for a program to read
        )
        self._task = self._progress.add_task("learning", total=1.0, told="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def resumed(self, standing: Standing) -> None:
        """Say so, for it is soon done."""
        done = standing.before + standing.taken
        self._progress.console.print(f"tocsin: an interrupted run goes on after {done} interactions", soft_wrap=True)

    def advanced(self, standing: Standing, fraction: float | None) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            description="watching" if standing.learned else "learning",
            completed=fraction or 0.0,
            told=f"{standing.before + standing.taken:,} interactions, {standing.pages} pages",
        )


def print_report(console: Console, findings: Sequence[Finding], summary: Finding) -> None:
    """The table of the pages, and the summary."""
    if findings:
        console.print(_table(findings))
        console.print()
    events, pages, seconds = summary["events"], summary["pages"], summary["seconds"]
    console.print(
        f"{events:,} interactions, {pages} {'page' if pages == 1 else 'pages'}; chance alone would have sent "
        f"{summary['expected_false_pages']:.2g} at most. {seconds:.1f} s ({events / max(seconds, 1e-3):,.0f} a second)",
        markup=False,
        soft_wrap=True,
    )
    for note in notes_on(summary):
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _table(findings: Sequence[Finding]) -> Table:
    several = len({each["application"] for each in findings}) > 1
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("page at (UTC)", *(["application"] if several else []), "stream", "what", "before", "now"):
        table.add_column(name, justify="right" if name in ("before", "now") else "left", overflow="fold")
    for name in ("share", "unit", "began about (UTC)", "lane", "who changed"):
        table.add_column(name, justify="right" if name in ("share", "unit") else "left", overflow="fold")
    for each in findings:
        effect, share = each["effect"], each["share"]
        stream = f"{each['stream']} ({each['segment']})" if each["segment"] else each["stream"]
        cells = [_moment(each["occurred_at"]), *([each["application"]] if several else []), stream]
        cells += [effect["quantity"], f"{effect['before']:.3g}", f"{effect['now']:.3g}"]
        cells += ["" if share is None else f"{share:.0%}", f"{each['position']:,}", _moment(each["began_estimate"])]
        table.add_row(*map(escape, [*cells, each["lane"], each.get("attribution", "")]))
    return table


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def notes_on(summary: Finding) -> Iterator[str]:
    """What a reader should know of the file, and what to do."""
    if summary["late"]:
        yield (
            f"{summary['late']:,} interactions are older than one before them and bring no budget with them: "
            "sort the file by occurred_at"
        )
    if summary["duplicates"]:
        yield f"{summary['duplicates']:,} interactions have the id of one in the same hour and were left out"
    if summary["unreadable"]:
        yield f"{summary['unreadable']:,} lines cannot be read and were left out; `tocsin score` says why"
    for encoder, count in summary["other_encoders"].items():
        yield (
            f"{count:,} interactions have vectors of another encoder ({encoder}) than the reference, which cannot be "
            "compared: leave all vectors out to have the texts encoded anew"
        )
    for name, why in summary["not_watched"].items():
        yield f"not watched: {name} ({why})"
