"""The page of `docs/` that shows the cards of the shipped heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detectors.heads import read_card

__all__ = ["heads_page"]

_HEADS = ("toxicity", "injection", "refusal")

Card = Mapping[str, Any]


def heads_page() -> str:
    """The cards in words and tables, Markdown."""
    lines = [
        "# Heads",
        "",
        "What the trained heads were made of, how well they do, and where they fail. All figures are of texts that a",
        "head did not see. In brackets: bounds of 95 %. `make heads` trains them anew, and their cards,",
        "`detectors/heads/*.json`, hold the same as this page.",
    ]
    for name in _HEADS:
        lines += ["", *_card(read_card(name))]
    return "\n".join(lines) + "\n"


def _card(card: Card) -> Iterator[str]:
    yield f"## {card['title']}"
    yield ""
    yield f"Trained on {card['rows']:,} texts. {card['split']}"
    yield ""
    yield from _table(("data", "source, licence"), card["data"].items())
    yield ""
    yield from _table(("output", "flag above"), card["outputs"].items())
    if card["name"] == "refusal":
        yield from _section("Held out, by model", _held_out(card["held_out"], ("f1",)))
    else:
        for output, figures in card["held_out"].items():
            columns = ("found_percent", "harmless_flagged_percent")
            yield from _section(f"Held out: {output}", _held_out(figures, columns))
    traffic = ((name, one["rows"], _interval(one["flagged_percent"])) for name, one in card["traffic"].items())
    yield from _section("Ordinary traffic", _table(("source", "texts", "flagged, %"), traffic))
    if "mentions" in card:
        yield from _section("Mentions of groups", _mentions(card["mentions"]))
        rated = card["rated_mentions"]
        rows = ((name, one["rows"], _interval(one["flagged_percent"])) for name, one in _with_all(rated))
        words = "Harmless texts of the public sets that name a group, written and rated by people."
        yield from _section("Rated mentions", (words, "", *_table(("group", "texts", "flagged, %"), rows)))
    if "functions" in card:
        kinds = (
            (name.replace("_", " "), "yes" if one["hostile"] else "no", one["texts"], _interval(one["flagged_percent"]))
            for name, one in card["functions"].items()
        )
        yield from _section("Functions", _table(("kind", "should be flagged", "texts", "flagged, %"), kinds))
    yield from _section("What it cannot do", (f"* {limit}" for limit in card["limits"]))


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield from ("", f"### {title}", "", *lines)


def _held_out(figures: Mapping[str, Card], more: Sequence[str]) -> Iterator[str]:
    names = ("rows", "positives", "auroc", *more, "calibration_error")
    rows = ((source, *(_interval(one[name]) for name in names)) for source, one in figures.items())
    return _table(("source", *(name.replace("_percent", ", %").replace("_", " ") for name in names)), rows)


def _mentions(mentions: Card) -> Iterator[str]:
    rows = (
        (name, one["harmless"], _interval(one["harmless_flagged_percent"]), _interval(one["hostile_found_percent"]))
        for name, one in _with_all(mentions)
    )
    return _table(("group", "harmless", "harmless flagged, %", "hostile found, %"), rows)


def _with_all(figures: Card) -> Iterator[tuple[str, Card]]:
    yield "all", figures["all"]
    yield from figures["groups"].items()


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _interval(value: Any) -> str:
    """A figure alone, or with its bounds."""
    if value is None:
        return "–"
    if isinstance(value, list):
        middle, low, high = value
        return f"{middle} ({low}–{high})"
    return str(value)
