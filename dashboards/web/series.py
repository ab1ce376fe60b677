"""The evidence of streams over time, as JSON for the charts, as rows, and as a picture where scripts do not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from dashboards.web.overview import LEARNING
from dashboards.web.reports import Reports, Span
from dashboards.web.words import stream_words

POINTS = 240
_LANE, _WIDTH, _LABEL = 64, 720, 16  # pixels of the picture


@dataclass(frozen=True)
class Mark:
    """An instant that is drawn across all charts."""

    at: float
    kind: str
    words: str


@dataclass(frozen=True)
class Series:
    """Evidence of several streams on one time axis; None where a stream said nothing. 1 is a page."""

    times: tuple[int, ...]
    streams: tuple[tuple[str, tuple[float | None, ...]], ...]
    marks: tuple[Mark, ...]
    over: Span

    def json(self) -> dict[str, Any]:
        """What the charts draw."""
        return {
            "since": self.over.since.timestamp(),
            "until": self.over.until.timestamp(),
            "times": self.times,
            "streams": [{"stream": name, "words": stream_words(name), "evidence": one} for name, one in self.streams],
            "marks": [{"at": mark.at, "kind": mark.kind, "words": mark.words} for mark in self.marks],
        }

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """Stream, instant and evidence, one row each."""
        for name, evidence in self.streams:
            for at, value in zip(self.times, evidence, strict=True):
                if value is not None:
                    yield name, datetime.fromtimestamp(at, UTC).isoformat(), value

    def svg(self) -> str:
        """A lane for each stream; no style of its own, in colours that both a light and a dark page bear."""
        height = _LANE * max(1, len(self.streams))
        lanes = [self._lane(row, *stream) for row, stream in enumerate(self.streams)]
        return Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
            'font-family="sans-serif" font-size="11" fill="#80868b">{lanes}</svg>'
        ).format(w=_WIDTH, h=height, lanes=Markup("").join(lanes))

    def _lane(self, row: int, name: str, evidence: Sequence[float | None]) -> Markup:
        start, length = self.over.since.timestamp(), (self.over.until - self.over.since).total_seconds()
        top, floor = row * _LANE + _LABEL, (row + 1) * _LANE - 4
        points = [
            (f"{max(0.0, _WIDTH * (at - start) / length):.1f}", f"{floor - (floor - top) * min(value, 1.0):.1f}")
            for at, value in zip(self.times, evidence, strict=True)
            if value is not None
        ]
        line = " ".join(",".join(point) for point in points)
        # the line of a single value, or of a few that are close, is not seen
        dot = Markup('<circle cx="{}" cy="{}" r="2.5" fill="#3b82c4"/>').format(*points[-1])
        marks = Markup("").join(
            Markup('<line x1="{x}" x2="{x}" y1="{top}" y2="{floor}" stroke="#80868b" stroke-dasharray="1 3"/>').format(
                x=f"{_WIDTH * (mark.at - start) / length:.1f}", top=top, floor=floor
            )
            for mark in self.marks
        )
        return Markup(
            '<text x="0" y="{label}">{name}</text>'
            '<line x1="0" x2="{w}" y1="{top}" y2="{top}" stroke="#d2691e" stroke-dasharray="4 3"/>{marks}'
            '<polyline points="{line}" fill="none" stroke="#3b82c4" stroke-width="1.5"/>{dot}'
        ).format(
            label=top - 4, name=stream_words(name), w=_WIDTH, top=top, floor=floor, marks=marks, line=line, dot=dot
        )


def read_series(reports: Reports, application: str, streams: Sequence[str], over: Span, segment: str = "") -> Series:
    """Evidence of the named streams of an application or a segment, of all if none is named; most evidence first."""
    window = {"application": application, "since": over.since, "until": over.until}
    rows = reports.read("evidence_series", **window, segment=segment, streams=list(streams), step=over.step)
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["stream"] != LEARNING:
            values.setdefault(row["stream"], {})[int(row["at"])] = float(row["highest"])
    times = tuple(sorted({at for one in values.values() for at in one}))
    ranked = sorted(values.items(), key=lambda item: (-max(item[1].values()), item[0]))
    marks = [
        Mark(row["first_at"].timestamp(), "deployment", f"{row['model_name']} {row['model_version']}".strip())
        for row in reports.read("deployments", **window)[1:]  # the first was there from the beginning
    ]
    for incident in reports.read("incidents_of", application=application):
        marks.append(Mark(incident["began_at"].timestamp(), "began", "estimated beginning"))
        marks.append(Mark(incident["opened_at"].timestamp(), "page", "incident opened"))
    shown = [mark for mark in marks if over.since.timestamp() <= mark.at <= over.until.timestamp()]
    return Series(times, tuple((name, tuple(one.get(at) for at in times)) for name, one in ranked), tuple(shown), over)
