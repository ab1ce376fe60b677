"""The overview: is anything wrong, anywhere? One row an application, from a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboards.web.reports import MOVED, REMEMBERED, Reports, Row, Span, span
from dashboards.web.words import State, number, stream_words

LEARNING = "learning"
"""The stream under which the watch stage writes how much of a reference it has; its evidence is units / needed."""
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
    streams: int
    incidents: tuple[Row, ...]
    run: Row | None
    versions: tuple[Row, ...]
    proposed: tuple[Row, ...]

    @property
    def sparkline(self) -> str:
        """The traffic as the outline of an SVG path, two units a step and twenty high."""
        most = max(self.traffic, default=0) or 1
        heights = " ".join(f"{2 * place} {20 - round(20 * one / most)}" for place, one in enumerate(self.traffic))
        return f"M0 20L{heights} {2 * len(self.traffic) - 2} 20Z"

    @property
    def rank(self) -> tuple[int, float, str]:
        """Who needs a person comes first, then whoever has moved, then by name: noise must not shuffle the rows."""
        order: dict[str, int] = {"firing": 0, "acknowledged": 1}
        needs = order.get(self.state, 2 if self.proposed else 3)
        most = self.moved[0].evidence if self.moved else 0.0
        return needs, -most if most >= MOVED else 0.0, self.name


@dataclass(frozen=True)
class Pipeline:
    """The health of the pipeline itself; `lag` in messages, None where nobody knows."""

    partitions: tuple[Row, ...]
    dead_letters: tuple[Row, ...]
    lag: int | None

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


def _by_application(rows: Iterable[Row]) -> defaultdict[str, list[Row]]:
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["application"]].append(row)
    return grouped


def _buckets(rows: Sequence[Row], over: Span) -> tuple[int, ...]:
    """Interactions in each step of the range; what lies outside it belongs to the nearest step."""
    counts = [0] * BUCKETS
    for row in rows:
        place = int((row["at"] - over.since.timestamp()) // over.step)
        counts[min(max(place, 0), BUCKETS - 1)] += int(row["interactions"])
    return tuple(counts)


def _state(incidents: Sequence[Row], references: Sequence[Row], learning: bool, interactions: int) -> State:
    states = {row["state"] for row in incidents}
    if "firing" in states:
        return "firing"
    if states:
        return "acknowledged"
    if not interactions:
        return "quiet"
    watched = any(row["status"] == "current" for row in references)
    return "watching" if watched or not learning else "learning"


def _learning(rows: Sequence[Row]) -> tuple[int, int] | None:
    """Units so far and units needed."""
    for row in rows:
        if row["stream"] == LEARNING:
            units, share = int(row["units"]), float(row["evidence"])
            return units, round(units / share) if share > 0 else 0
    return None


def read_overview(reports: Reports, now: datetime, range_name: str, matching: str, lag: int | None) -> Overview:
    """Read the overview.

    Args:
        reports: the queries.
        now: the time, with a zone.
        range_name: one of `RANGES`.
        matching: shows only applications whose name contains this; the headline still speaks of all.
        lag: messages that wait to be scored, None where nobody knows.
    """
    over = span(range_name, now, BUCKETS)
    traffic = _by_application(reports.read("traffic", since=over.since, step=over.step))
    versions = _by_application(reports.read("versions", since=over.since))
    evidence = _by_application(reports.read("evidence_now", since=now - REMEMBERED))
    references = _by_application(reports.read("references"))
    incidents = _by_application(reports.read("incidents_open"))
    runs = _by_application(reports.read("runs_latest"))
    names = {*traffic, *evidence, *references, *incidents, *runs}
    rows = []
    for name in names:
        streams = [_stream(row) for row in evidence[name] if row["stream"] != LEARNING]
        learning = _learning(evidence[name])
        interactions = sum(int(row["interactions"]) for row in traffic[name])
        watched = any(row["status"] == "current" for row in references[name])
        rows.append(
            Application(
                name=name,
                state=_state(incidents[name], references[name], learning is not None, interactions),
                learning=None if watched else learning,
                traffic=_buckets(traffic[name], over),
                interactions=interactions,
                errors=sum(int(row["errors"]) for row in traffic[name]),
                moved=tuple(streams[:MOST]),
                streams=len(streams),
                incidents=tuple(incidents[name]),
                run=next(iter(runs[name]), None),
                versions=tuple(versions[name]),
                proposed=tuple(row for row in references[name] if row["status"] == "proposed"),
            )
        )
    rows.sort(key=lambda row: row.rank)
    shown = [row for row in rows if matching.casefold() in row.name.casefold()]
    ledger, dead = reports.read("ledger"), reports.read("dead_letters", since=over.since)
    pages = int(reports.read("pages_sent", since=now - REMEMBERED)[0]["pages"])
    return Overview(tuple(rows), tuple(shown), pages, Pipeline(tuple(ledger), tuple(dead), lag))


def _stream(row: Row) -> Stream:
    return Stream(
        row["stream"], stream_words(row["stream"]), float(row["evidence"]), int(row["units"]), bool(row["latched"])
    )
