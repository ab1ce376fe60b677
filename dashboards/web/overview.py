"""The overview: is anything wrong, anywhere? One row an application, from a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from dashboards.web.reports import MOVED, REMEMBERED, Reports, Row, Span, span
from dashboards.web.words import State, number, stream_words

LEARNING = "learning"
"""The stream under which the watch stage writes how much of a reference it has; its evidence is units / needed."""
Rows = defaultdict[str, list[Row]]
BUCKETS = 48
MOST = 3


@dataclass(frozen=True)
class Stream:
    """One monitored stream, now."""

    name: str
    words: str
    evidence: float
    units: int
    latched: bool


@dataclass(frozen=True)
class Application:
    """One row of the overview."""

    name: str
    state: State
    learning: tuple[int, int] | None
    traffic: tuple[int, ...]
    interactions: int
    errors: int
    moved: tuple[Stream, ...]
    incidents: tuple[Row, ...]
    run: Row | None
    versions: tuple[Row, ...]
    proposed: tuple[Row, ...]

    @property
    def sparkline(self) -> str:
        """The traffic as an SVG path of bars, two units a step and twenty high; little traffic is not none."""
        most = max(self.traffic, default=0) or 1
        bars = (f"V{20 - ceil(20 * one / most)}H{2 * place + 2}" for place, one in enumerate(self.traffic))
        return f"M0 20{''.join(bars)}V20Z"

    @property
    def rank(self) -> tuple[int, float, str]:
        """Who needs a person comes first, then whoever has moved, then by name: noise must not shuffle the rows."""
        order: dict[str, int] = {"firing": 0, "acknowledged": 1}
        needs = order.get(self.state, 2 if self.proposed else 3)
        most = self.moved[0].evidence if self.moved else 0.0
        return needs, -most if most >= MOVED else 0.0, self.name


@dataclass(frozen=True)
class Pipeline:
    """The health of the pipeline itself; `waiting` in messages by topic and partition, None where nobody knows."""

    partitions: tuple[Row, ...]
    dead_letters: tuple[Row, ...]
    waiting: Mapping[tuple[str, int], int] | None

    @property
    def lag(self) -> int | None:
        """Messages that wait, over all partitions."""
        return None if self.waiting is None else sum(self.waiting.values())

    def produced(self, row: Row) -> int:
        """What the broker has of a partition; where it does not say, what was dealt with."""
        waiting = (self.waiting or {}).get((row["topic"], int(row["partition"])), 0)
        return int(row["next_offset"]) - int(row["first_offset"]) + waiting

    def total(self, column: str) -> int:
        """A column of the ledger, over all partitions."""
        return sum(int(row[column]) for row in self.partitions)

    @property
    def exact(self) -> bool:
        """Whether every offset that was passed is stored, a dead letter or a duplicate."""
        return not self.total("missing") and not self.total("unaccounted")


@dataclass(frozen=True)
class Overview:
    """Everything that the overview shows."""

    applications: tuple[Application, ...]
    shown: tuple[Application, ...]
    pages: int
    pipeline: Pipeline

    @property
    def firing(self) -> int:
        """Incidents that nobody has acknowledged."""
        return sum(row["state"] == "firing" for one in self.applications for row in one.incidents)

    @property
    def proposed(self) -> int:
        """References that wait for a person."""
        return sum(len(one.proposed) for one in self.applications)

    @property
    def headline(self) -> str:
        """The answer to the page's question."""
        waiting = [number(self.firing, "incident")] * bool(self.firing)
        waiting += [number(self.proposed, "proposed reference")] * bool(self.proposed)
        if waiting:
            return f"{' and '.join(waiting)} {'needs' if self.firing + self.proposed == 1 else 'need'} you"
        if not self.pipeline.exact:
            return "The pipeline has lost messages"
        return "Nothing needs you" if self.applications else "No traffic yet"


@dataclass(frozen=True)
class _Grouped:
    """What was read, by application."""

    traffic: Rows
    versions: Rows
    evidence: Rows
    references: Rows
    incidents: Rows
    runs: Rows

    def names(self) -> set[str]:
        """Every application that anything is known of."""
        return {*self.traffic, *self.evidence, *self.references, *self.incidents, *self.runs}


def _by_application(rows: Iterable[Row]) -> Rows:
    grouped: Rows = defaultdict(list)
    for row in rows:
        grouped[row["application"]].append(row)
    return grouped


def _buckets(rows: Sequence[Row], over: Span) -> tuple[int, ...]:
    """Interactions in each step of the range. A step that began before it is left out, since it would look low."""
    counts = [0] * BUCKETS
    for row in rows:
        place = int((row["at"] - over.since.timestamp()) // over.step)
        if place >= 0:
            counts[min(place, BUCKETS - 1)] += int(row["interactions"])  # producers' clocks may be a little ahead
    return tuple(counts)


def _state(incidents: Sequence[Row], interactions: int, *, learning: bool) -> State:
    states = {row["state"] for row in incidents}
    if "firing" in states:
        return "firing"
    if states:
        return "acknowledged"
    if not interactions:
        return "quiet"
    return "learning" if learning else "watching"


def learned(rows: Iterable[Row]) -> tuple[int, int] | None:
    """Units so far and units needed, from the last evidence of an application."""
    for row in rows:
        if row["stream"] == LEARNING:
            units, share = int(row["units"]), float(row["evidence"])
            return units, round(units / share) if share > 0 else 0
    return None  # it is shown from its 32nd unit on


def is_watched(references: Iterable[Row]) -> bool:
    """Whether one of an application's references is current."""
    return any(row["status"] == "current" for row in references)


def _application(name: str, read: _Grouped, over: Span) -> Application:
    traffic, references = read.traffic[name], read.references[name]
    streams = [_stream(row) for row in read.evidence[name] if row["stream"] != LEARNING]
    learning, watched = learned(read.evidence[name]), is_watched(references)
    interactions = sum(int(row["interactions"]) for row in traffic)
    return Application(
        name=name,
        state=_state(read.incidents[name], interactions, learning=not watched),
        learning=None if watched else learning,
        traffic=_buckets(traffic, over),
        interactions=interactions,
        errors=sum(int(row["errors"]) for row in traffic),
        moved=tuple(streams[:MOST]),
        incidents=tuple(read.incidents[name]),
        run=next(iter(read.runs[name]), None),
        versions=tuple(read.versions[name]),
        proposed=tuple(row for row in references if row["status"] == "proposed"),
    )


def _stream(row: Row) -> Stream:
    evidence, units = float(row["evidence"]), int(row["units"])
    return Stream(row["stream"], stream_words(row["stream"]), evidence, units, bool(row["latched"]))


def read_overview(
    reports: Reports, now: datetime, range_name: str, matching: str, waiting: Mapping[tuple[str, int], int] | None
) -> Overview:
    """Read the overview.

    Args:
        reports: the queries.
        now: the time, with a zone.
        range_name: one of `RANGES`.
        matching: shows only applications whose name contains this; the headline still speaks of all.
        waiting: messages that are not dealt with yet, by topic and partition; None where nobody knows.
    """
    over = span(range_name, now, BUCKETS)
    read = _Grouped(
        traffic=_by_application(reports.read("traffic", since=over.since, step=over.step)),
        versions=_by_application(reports.read("versions", since=over.since)),
        evidence=_by_application(reports.read("evidence_now", since=now - REMEMBERED)),
        references=_by_application(reports.read("references")),
        incidents=_by_application(reports.read("incidents_open")),
        runs=_by_application(reports.read("runs_latest")),
    )
    rows = sorted((_application(name, read, over) for name in read.names()), key=lambda row: row.rank)
    shown = [row for row in rows if matching.casefold() in row.name.casefold()]
    pages = int(reports.read("pages_sent", since=now - REMEMBERED)[0]["pages"])
    ledger, dead_letters = reports.read("ledger"), reports.read("dead_letters", since=over.since)
    return Overview(tuple(rows), tuple(shown), pages, Pipeline(tuple(ledger), tuple(dead_letters), waiting))
