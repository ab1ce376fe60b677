"""The words of incidents: what a person reads at 3 a.m. Never holds what anybody asked or was answered."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tocsin.messages import Effect, Page

if TYPE_CHECKING:
    from streams.core.incidents import Incident

FAIRNESS = "fairness"
"""The lane of a group that differs from the rest; before and now are then the rest and the group."""

RULE = "rule"
"""The lane of a limit that a person set: it stands outside of the page budget."""

MOST_LISTED = 5
"""Other streams and versions named in a notification; the rest is behind the link."""

MOST_LINES = 10
"""Pages beside the strongest that a notification says a line about; of the others it has the ids."""

LEAST_SHOWN = 0.1
"""Evidence from which on another stream is said to have moved."""

WHO: Mapping[str, str] = {
    "users": "users ask other things; no change was found in how like questions are answered",
    "model": "users ask as before; the model answers differently",
    "both": "users ask other things, and what is asked as before is answered differently too",
    "unclear": "not clear yet whether users or the model changed",
}
"""What an attribution means."""

_CHANNELS = {
    "prompt": "what people ask has changed (prompt embeddings)",
    "response": "what the model answers has changed (response embeddings)",
    "response_given_prompt": "how the model answers what it is asked has changed (responses given their prompts)",
}
_UNITS = {"ms": "ms", "usd": "USD", "seconds": "s"}


def headline(page: Page) -> str:
    """What moved, as one sentence: "support-bot, region=eu: toxicity of prompts has risen"."""
    where = f", {part}" if (part := _part(page)) else ""
    return f"{_line(page.application)}{where}: {_change(page)}"


def account(page: Page) -> str:
    """The headline, and who changed as far as could be judged by then: a line of an incident's timeline."""
    return f"{headline(page)}; {WHO[page.attribution]}" if page.attribution else headline(page)


def notification_text(incident: Incident, pages: Sequence[Page], told: int, public_url: str) -> tuple[str, str]:
    """Title and body of a message about pages of an incident, as plain text: the strongest whole, the others a line.

    Its last lines, a `page: ID` for each page and `incident: ID`, are for receivers that keep account.

    Args:
        incident: what the pages belong to.
        pages: what is told, at least one.
        told: pages of the incident that earlier messages told of.
        public_url: where the web pages are reached; empty leaves the links out.
    """
    first, *others = sorted(pages, key=_strength)
    title = headline(first) + (f", and {_more(len(others))}" if others else "")
    facts = _facts(first, {page.stream for page in others})
    if told:
        short = f"{_line(incident.application)}: {_more(len(pages))} in incident {incident.incident_id[:8]}"
        title = f"{short}: {_sentence(first)}{', …' if others else ''}"
        facts.insert(0, ("Goes on", f"{incident.title}; {told} change{'s' if told > 1 else ''} told before"))
    address = f"{public_url.rstrip('/')}/incidents/{incident.incident_id}" if public_url else ""
    links = [("Incident", address), ("Report", f"{address}/report (ready a minute after the page)")] if address else []
    ids = [*(f"page: {_line(page.page_id)}" for page in (first, *others)), f"incident: {incident.incident_id}"]
    sections = (_labelled(facts), _briefly(others), _labelled(links), ids)
    return title, "\n\n".join("\n".join(lines) for lines in sections if lines)


def _strength(page: Page) -> tuple[bool, float, str]:
    """What to say first: what is about the whole application and not a part of it, then what has the most evidence."""
    return bool(page.segment), -page.evidence, page.page_id


def _facts(page: Page, told: Collection[str]) -> list[tuple[str, str]]:
    """Everything about one page, in a message that tells of these streams too."""
    return [
        ("What moved", f"{_line(page.stream)}, seen by the lane {_line(page.lane)}"),
        ("Who", WHO.get(page.attribution or "", "")),
        (
            "Since",
            f"about {_utc(page.began_at)}; paged {_utc(page.occurred_at)}, {page.units_since_beginning} units later",
        ),
        ("How big", _size(page.effect)),
        ("Traffic", "share unknown" if page.share is None else f"about {page.share:.0%} of it is affected"),
        ("Where", _where(page)),
        ("Also moved", _others(page, told)),
        ("Versions", _versions(page)),
        ("Evidence", f"{page.evidence:.3g}, where 1 is a page"),
    ]


def _labelled(facts: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{label + ':':<12}{text}" for label, text in facts if text]


def _briefly(pages: Sequence[Page]) -> list[str]:
    """A line about each page, and how many there are beyond those that get one."""
    if not pages:
        return []
    lines = [f"- {_sentence(page)}: {_figures(page.effect)}" for page in pages[:MOST_LINES]]
    rest = [f"- and {len(pages) - MOST_LINES} more: see the incident"] if len(pages) > MOST_LINES else []
    return ["Also, the strongest first:", *lines, *rest]


def _more(count: int) -> str:
    return f"{count} more change{'s' if count > 1 else ''}"


def _sentence(page: Page) -> str:
    """The headline without the application: "region=eu: toxicity of prompts has risen"."""
    return f"{part}: {_change(page)}" if (part := _part(page)) else _change(page)


def _part(page: Page) -> str:
    """The part of the traffic that moved; nothing if all of it did, or if the change is about a group beside others."""
    return "" if page.lane == FAIRNESS else _place(page.segment)


def _change(page: Page) -> str:
    if page.lane == FAIRNESS:
        which = "higher" if page.effect.now > page.effect.before else "lower"
        return f"{_named(page.stream)} is {which} for {_place(page.segment)} than for others"
    if page.stream == "response" and page.attribution == "users":
        return "answers have changed with what people ask (response embeddings)"
    if page.stream in _CHANNELS:
        return _CHANNELS[page.stream]
    return f"{_named(page.stream)} has {_direction(page.effect)}"


def _named(stream: str) -> str:
    """A signal as people say it: "toxicity of prompts"."""
    side, _, signal = stream.rpartition(".")
    name, _, unit = signal.rpartition("_")
    words = _line(name if name and unit in _UNITS else signal).replace("_", " ")
    if side:
        words += f" of {side}s" if side in _CHANNELS else f" ({_line(side)})"
    return words


def _direction(effect: Effect) -> str:
    """What may be said of the way it went: nothing that the interval does not say."""
    if effect.quantity.startswith("share of low values"):
        return "fallen"
    if effect.low is not None and effect.high is not None and effect.low <= effect.before <= effect.high:
        return "changed"
    return "risen" if effect.now > effect.before else "fallen" if effect.now < effect.before else "changed"


def _size(effect: Effect) -> str:
    interval = (
        "" if effect.low is None or effect.high is None else f"95% interval {effect.low:.3g} to {effect.high:.3g}, "
    )
    figures = f"{_figures(effect)} ({interval}{effect.units} units)"
    return f"{figures}; {meaning}" if (meaning := _meaning(effect)) else figures


def _figures(effect: Effect) -> str:
    return f"{_line(effect.quantity)} {effect.before:.3g} → {effect.now:.3g}"


def _meaning(effect: Effect) -> str:
    """What the figures mean in everyday words, where they do not say it themselves.

    Of a shift in standard deviations, the share of the reference that the middle of the traffic has now passed: Cohen's
    U3 (Statistical Power Analysis, 1988), as if the reference were normal along that direction.
    """
    if "standard deviations" in effect.quantity:
        passed = 0.5 * (1 + math.erf(effect.now / math.sqrt(2)))
        return f"half of the traffic lies beyond {passed:.0%} of the reference"
    if effect.quantity.startswith("rate") and all(0 < share < 0.3 for share in (effect.before, effect.now)):
        return f"1 in {1 / effect.before:.0f} became 1 in {1 / effect.now:.0f}"
    if effect.quantity.startswith("mean") and effect.before > 0 and effect.now > 0:
        return f"{effect.now / effect.before - 1:+.0%}"
    return ""


def _where(page: Page) -> str:
    """The segments that carry the change; nothing if the application has none."""
    known = [each for each in page.segments if each.segment]
    if not known:
        return ""
    carriers = sorted((each for each in known if each.evidence >= LEAST_SHOWN), key=lambda each: -each.evidence)
    named = [f"{_place(each.segment)} (evidence {each.evidence:.2g})" for each in carriers[:MOST_LISTED]]
    if not named:
        return f"everywhere a little: none of {len(known)} segments shows it alone"
    only, others = "only " if len(carriers) == 1 < len(known) else "", len(known) - len(carriers)
    still = f"; {others} other{'s' if others > 1 else ''} did not move" if others else ""
    return only + ", ".join(named + _rest(len(carriers))) + still


def _others(page: Page, told: Collection[str]) -> str:
    moved = [each for each in page.moved if each.evidence >= LEAST_SHOWN and each.stream not in told]
    strongest = sorted(moved, key=lambda each: (-each.evidence, each.stream))
    named = [f"{_line(each.stream)} (evidence {each.evidence:.2g})" for each in strongest[:MOST_LISTED]]
    return ", ".join(named + _rest(len(strongest))) or ("" if told else "nothing else")


def _versions(page: Page) -> str:
    largest = sorted(page.versions, key=lambda shift: (-abs(shift.share_now - shift.share_before), shift.field))
    named = [
        f"{_line(shift.field)} {_line(shift.value)}: {shift.share_before:.0%} → {shift.share_now:.0%} of traffic"
        for shift in largest[:MOST_LISTED]
    ]
    return "; ".join(named + _rest(len(largest))) or "no version changed its share"


def _rest(count: int) -> list[str]:
    return [f"{count - MOST_LISTED} more"] if count > MOST_LISTED else []


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _place(segment: str) -> str:
    """A segment as people say it: "attribute region=eu" is about the region."""
    return _line(segment.removeprefix("attribute "))


def _line(name: str) -> str:
    """A name from outside on one line, so that it cannot pass for an id line of its own."""
    flat = " ".join(name.split())
    return flat if len(flat) <= 120 else f"{flat[:119]}…"
