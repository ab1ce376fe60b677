"""Formats: is what a program is to read in the form that it expects?

A service says what it expects in the attribute `output_type` (OpenTelemetry's `gen_ai.output.type`): json, json_lines,
csv or number. JSON is also taken as expected where the prompt asks for nothing but that, and wherever a response labels
a block as JSON.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from detectors.signals import Exchanges, InteractionSignal, Output, Readings
from tocsin.contracts import Interaction

__all__ = ["SIGNALS", "Formats"]

_CHARACTERS = 200_000
_ASKED = re.compile(r"\b(?:only|just|strictly|nothing but)\b[^.\n]{0,40}\bjson\b", re.IGNORECASE)
_EXCERPT = re.compile(r"\.\.\.|…|^\s*(?://|/\*|#)|[,{\[]\s*//", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?%?")


class Formats(InteractionSignal):
    """Whether JSON is broken anywhere, and whether the response as a whole is what the service declared."""

    outputs = (
        Output(
            "json_invalid",
            "binary",
            "JSON that was asked for or announced does not parse",
            threshold=0.5,
            higher_is_worse=True,
        ),
        Output(
            "format_invalid",
            "binary",
            "the response is not in the format of the attribute `output_type`",
            threshold=0.5,
            higher_is_worse=True,
        ),
    )

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """0 or 1; none where no JSON, or no format, is expected."""
        rows = [
            (_json_invalid(one, response), _format_invalid(one, response))
            for one, response in zip(exchanges.interactions, exchanges.responses.texts, strict=True)
        ]
        found = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return Readings({"json_invalid": found[:, 0], "format_invalid": found[:, 1]})


def _json_invalid(interaction: Interaction, response: str) -> float:
    seen = response[:_CHARACTERS]
    if blocks := [block for block in _json_blocks(seen) if block[:1] in ("{", "[") and not _EXCERPT.search(block)]:
        return float(not all(_is_json(block) for block in blocks))
    if interaction.attributes.get("output_type", "").lower() == "json" or _asks_for_json(interaction):
        return float(not _is_json(_unfenced(seen)))
    return float("nan")


def _asks_for_json(interaction: Interaction) -> bool:
    """Whether the prompt wants JSON and nothing else; of a chat, the instructions or the last message of the user."""
    prompt = interaction.prompt
    said = [] if isinstance(prompt, str) else [turn.content for turn in prompt if turn.role in ("system", "developer")]
    return any("json" in text.lower() and _ASKED.search(text) for text in (interaction.prompt_text, *said))


def _format_invalid(interaction: Interaction, response: str) -> float:
    check = _CHECKS.get(interaction.attributes.get("output_type", "").lower())
    return float("nan") if check is None else float(not check(_unfenced(response[:_CHARACTERS])))


def _json_blocks(text: str) -> Iterator[str]:
    """What stands in fences labelled as JSON."""
    block: list[str] | None = None
    for line in text.splitlines() if "```" in text else ():
        mark = line.strip()
        if block is None:
            block = [] if mark.lower() == "```json" else None
        elif mark == "```":
            yield "\n".join(block).strip()
            block = None
        else:
            block.append(line)


def _unfenced(text: str) -> str:
    """The text without the one code fence around all of it, which programs take off."""
    bare = text.strip()
    label, line_end, rest = bare.partition("\n")
    fenced = label.startswith("```") and line_end and rest.endswith("```")
    return rest.removesuffix("```").strip() if fenced else bare


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):  # nested deeper than any program reads
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python reads and JSON does not know


def _is_json_lines(text: str) -> bool:
    return bool(text) and all(_is_json(line) for line in text.splitlines() if line.strip())


def _is_csv(text: str) -> bool:
    try:
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    except csv.Error:
        return False
    return bool(rows) and len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows)


def _is_number(text: str) -> bool:
    return any(letter.isdigit() for letter in text[:400]) and _NUMBER.fullmatch(text) is not None


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "json": _is_json,
    "json_lines": _is_json_lines,
    "csv": _is_csv,
    "number": _is_number,
}

SIGNALS = (Formats,)
