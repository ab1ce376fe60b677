"""The incident page: what changed, since when, how big, for whom, why, what to do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards.web.reports import MOVED, Reports, Row
from dashboards.web.words import (
    WHO,
    capital,
    event_words,
    figure,
    number,
    quantity_words,
    relative,
    segment_words,
    stream_unit,
    stream_words,
)
from tocsin.messages import ClusterShift, Exemplar, Moved, Page, SegmentEvidence

_EMBEDDINGS = ("prompt", "response", "response_given_prompt")
_MOST_NAMED = 3


@dataclass(frozen=True)
class Shown:
    """An interaction that speaks for the change, or one of the reference; `text` is None once it is no longer kept."""

    interaction_id: str
    score: float
    text: Row | None


@dataclass(frozen=True)
class Topic:
    """A cluster of the traffic whose share changed, with an interaction of now if there is one and it is kept."""

    shift: ClusterShift
    text: Row | None


@dataclass(frozen=True)
class Entry:
    """One line of the timeline."""

    at: datetime
    words: str
    actor: str
    detail: str


@dataclass(frozen=True)
class Incident:
    """Everything that the incident page shows."""

    row: Row
    pages: tuple[Page, ...]
    exemplars: tuple[Shown, ...]
    ordinary: tuple[Shown, ...]
    topics: tuple[Topic, ...]
    timeline: tuple[Entry, ...]
    runs: tuple[Row, ...]
    window: tuple[datetime, datetime]

    @property
    def first(self) -> Page | None:
        """The page that opened the incident."""
        return self.pages[0] if self.pages else None

    @property
    def others(self) -> tuple[Page, ...]:
        """The pages that joined it."""
        return self.pages[1:]

    @property
    def paged(self) -> tuple[str, ...]:
        """The other streams that paged, in the order in which they did."""
        own = self.first.stream if self.first else ""
        return tuple(stream for stream in self.row["streams"] if stream != own)

    @property
    def moved(self) -> tuple[Moved, ...]:
        """What moved with it by the time of the first page and did not page, most evidence first."""
        return self._beside(moved=True)

    @property
    def still(self) -> tuple[Moved, ...]:
        """What did not move by then, nor paged later."""
        return self._beside(moved=False)

    def _beside(self, *, moved: bool) -> tuple[Moved, ...]:
        rows = self.first.moved if self.first else []
        found = [row for row in rows if (row.evidence >= MOVED) == moved and row.stream not in self.row["streams"]]
        return tuple(sorted(found, key=lambda row: -row.evidence))

    @property
    def who(self) -> str:
        """Who changed: the latest judgement that was clear, since evidence of one side may lag behind the other's."""
        judged = [page.attribution for page in self.pages if page.attribution]
        clear = [verdict for verdict in judged if verdict != "unclear"]
        return WHO[(clear or judged)[-1]] if judged else ""

    @property
    def segments(self) -> tuple[SegmentEvidence, ...]:
        """Segments of the traffic, most evidence of the first page's stream first; "" is the whole application."""
        return tuple(sorted(self.first.segments, key=lambda one: -one.evidence)) if self.first else ()

    @property
    def where(self) -> str:
        """The segments that carry the change, in words; nothing if there are none."""
        carriers = [one for one in self.segments if one.segment and one.evidence >= MOVED]
        others = sum(1 for one in self.segments if one.segment) - len(carriers)
        if not carriers:
            return f"No single one of {others} segments shows it." if others else ""
        names = ", ".join(segment_words(one.segment) for one in carriers[:_MOST_NAMED])
        more = f" and {len(carriers) - _MOST_NAMED} more" if len(carriers) > _MOST_NAMED else ""
        only = "Only in " if others and len(carriers) == 1 else "In "
        still = f"; not in {number(others, 'other segment')}" if others else ""
        return f"{only}{names}{more}{still}."


def headline(page: Page) -> str:
    """What moved, where and which way, in words."""
    where = f" in {segment_words(page.segment)}" if page.segment else ""
    return f"{_movement(page)}{where}"


def _movement(page: Page) -> str:
    effect = page.effect
    subject = capital(stream_words(page.stream))
    if page.lane == "fairness":
        return f"{subject} is {'higher' if effect.now > effect.before else 'lower'} than for others"
    if page.stream in _EMBEDDINGS:
        return f"{subject} has changed"
    if effect.quantity.startswith("share of low values"):
        return f"{subject} fell"
    if effect.low is not None and effect.high is not None and effect.low <= effect.before <= effect.high:
        return f"{subject} changed"  # the interval does not say which way
    return f"{subject} {'rose' if effect.now > effect.before else 'fell'}"


def effect_words(page: Page) -> str:
    """An effect: before, now, the change beside them, the interval."""
    effect = page.effect
    unit = stream_unit(page.stream) if effect.quantity.startswith("mean") else ""
    change = relative(effect.before, effect.now)
    words = f"{quantity_words(effect.quantity)} {figure(effect.before)}{unit} → {figure(effect.now)}{unit}"
    words += f" ({change})" if change else ""
    if effect.low is not None and effect.high is not None:
        words += f", 95 % interval {figure(effect.low)} to {figure(effect.high)}{unit}"
    return words


def read_incident(reports: Reports, incident_id: str, now: datetime) -> Incident | None:
    """Read an incident; None where there is none of this id."""
    found = reports.read("incident", incident_id=incident_id)
    if not found:
        return None
    row = found[0]
    application, page_ids = row["application"], list(row["page_ids"])
    rows = reports.read("pages", application=application, page_ids=page_ids)
    known = {one["page_id"]: one["explanation"] for one in rows}
    # in the order in which they joined: the title is about the first one
    pages = tuple(Page.model_validate_json(known[page_id]) for page_id in page_ids if page_id in known)
    exemplars, ordinary = (pages[0].exemplars, pages[0].ordinary) if pages else ([], [])
    clusters = pages[0].clusters if pages else []
    ids = [one.interaction_id for one in (*exemplars, *ordinary)]
    ids += [one.interaction_id for one in clusters if one.interaction_id]
    texts = {one["interaction_id"]: one for one in reports.read("texts", application=application, interaction_ids=ids)}
    runs = reports.read("runs", incident_id=incident_id)
    events = reports.read("incident_events", incident_id=incident_id)
    notifications = reports.read("notifications", incident_id=incident_id)
    return Incident(
        row=row,
        pages=pages,
        exemplars=_shown(exemplars, texts),
        ordinary=_shown(ordinary, texts),
        topics=tuple(Topic(one, texts.get(one.interaction_id)) for one in clusters),
        timeline=_timeline(events, notifications),
        runs=tuple(runs),
        window=_window(row, now),
    )


def _window(row: Row, now: datetime) -> tuple[datetime, datetime]:
    """The time that the chart shows: some of what was ordinary, then everything until now or until the end."""
    until = max(row["updated_at"], row["opened_at"]) if row["state"] == "resolved" else now
    return row["began_at"] - max((until - row["began_at"]) / 3, timedelta(minutes=10)), until


def _shown(exemplars: Sequence[Exemplar], texts: dict[str, dict[str, object]]) -> tuple[Shown, ...]:
    return tuple(Shown(one.interaction_id, one.score, texts.get(one.interaction_id)) for one in exemplars)


def _timeline(events: Sequence[Row], notifications: Sequence[Row]) -> tuple[Entry, ...]:
    entries = [Entry(row["happened_at"], event_words(row["kind"]), row["actor"], row["detail"]) for row in events]
    for row in notifications:
        count = len(row["page_ids"])
        pages = f"of {count} pages" if count > 1 else ""
        tries = f"{row['attempts']} tries" if row["attempts"] > 1 else ""
        said = "; ".join(part for part in (row["target"], pages, tries, row["last_error"]) if part)
        entries.append(Entry(row["updated_at"], f"Notification {row['state']}", "", said))
    return tuple(sorted(entries, key=lambda entry: entry.at))
