"""Sentences about groups of people, written for this project. They lie in `sentences/`; here their frames are filled.

Without them a head learns from the public sets that naming a group is toxic. Every frame is filled for every group, so
that the name alone tells nothing. What measures this, `sentences/held_out`, is of another construction and is never
trained on. Contains hostile language, which is what the head must recognise.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "Sentence",
    "an",
    "function_sentences",
    "group_forms",
    "held_out_sentences",
    "injection_texts",
    "read_frames",
    "training_sentences",
]

_DIRECTORY = Path(__file__).parent / "sentences"
_NO_GROUP = "control"

_PER_GROUP = {"neutral": 110, "positive": 18, "advocacy": 65, "hostile": 58, "against": 52}
_STANCES = 40
"""Pairs of one frame, a group's: hostile and friendly."""
_REJECTED, _NEGATED = 0.4, 0.35
"""Of the pairs: parts that come with the hostile sentence rejected by a speaker; with a negated pair."""
_WITHOUT_GROUP = {"insults": 1_200, "things": 800, "swearing": 350}
_HOSTILE = {"hostile", "insults"}
_SLOT = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"<(\w+)\|(\w+)>")


@dataclass(frozen=True)
class Sentence:
    """A sentence with its labels. frame: what it fills; group: empty where it names none; kind: file or function."""

    text: str
    frame: str
    group: str
    kind: str
    toxic: bool
    attack: bool


def group_forms() -> dict[str, tuple[list[str], list[str], list[str]]]:
    """By group its plurals, singulars with article, and adjectives; without the group that is no identity."""
    return {name: tuple(forms) for name, forms in _read("groups").items() if name != _NO_GROUP}


def training_sentences(seed: int = 0) -> list[Sentence]:
    """Every training sentence once. Deterministic."""
    rng = random.Random(seed)  # noqa: S311 - chooses sentences, guards no secret
    found = [one for group in _read("groups") for one in _of_group(group, rng)]
    for kind, count in _WITHOUT_GROUP.items():
        bad = kind in _HOSTILE
        frames = read_frames(kind)
        for frame in rng.choices(frames, k=count):
            found.append(Sentence(_written(fill(frame, _NO_GROUP, rng), rng), frame, "", kind, bad, False))
    return list({one.text: one for one in found}.values())


def held_out_sentences(seed: int = 1) -> list[Sentence]:
    """Sentences that measure mentions: every frame once for every group. Deterministic."""
    frames = [(frame, kind) for kind in ("harmless", "hostile") for frame in read_frames(f"held_out/{kind}")]
    return _measuring([(frame, kind, kind == "hostile") for frame, kind in frames], seed)


def function_sentences(seed: int = 2) -> list[Sentence]:
    """Sentences that measure single abilities, such as to understand a negation, for every group. Deterministic."""
    functions = _read("held_out/functions")
    return _measuring(
        [(frame, name, one["hateful"]) for name, one in functions.items() for frame in one["frames"]], seed
    )


def injection_texts() -> list[tuple[str, bool, str]]:
    """Texts that measure the injection head: kind, whether it is an injection, text."""
    kinds = _read("held_out/injection")
    return [(kind, one["injection"], text) for kind, one in kinds.items() for text in one["texts"]]


def fill(frame: str, group: str, rng: random.Random) -> str:
    """A frame with a group's names and other words in its slots; begins with a capital."""
    groups, words = _read("groups"), _read("words")
    plurals, singulars, adjectives = groups[group]
    another = rng.choice([name for name in groups if name != group])
    names = {"p": plurals, "s": singulars, "a": adjectives, "q": groups[another][0]}

    def chosen(slot: re.Match[str]) -> str:
        return str(rng.choice((names | words)[slot[1]]))

    text = an(_SLOT.sub(chosen, frame))
    return text[0].upper() + text[1:]


def an(text: str) -> str:
    """Its indefinite articles as the words that follow need them."""
    return re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text)


def read_frames(name: str) -> list[str]:
    """The frames of a file, one a line."""
    lines = (_DIRECTORY / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _of_group(group: str, rng: random.Random) -> Iterator[Sentence]:
    identity = group != _NO_GROUP
    for kind, count in _PER_GROUP.items():
        bad = kind in _HOSTILE
        frames = read_frames(kind)
        for frame in [
            *rng.sample(frames, min(count, len(frames))),
            *rng.choices(frames, k=max(0, count - len(frames))),
        ]:
            yield Sentence(_written(fill(frame, group, rng), rng), frame, group, kind, bad, bad and identity)
    for text, frame, kind, bad in _stances(group, rng):
        yield Sentence(_written(text, rng), frame, group, kind, bad, bad and identity)


def _stances(group: str, rng: random.Random) -> Iterator[tuple[str, str, str, bool]]:
    """Text, frame, kind and whether it is hostile, of minimal pairs and of what follows from them."""
    stance, around = _read("stance"), read_frames("rejected")
    for frame in rng.choices(stance["frames"], k=_STANCES):
        hostile, friendly = (fill(taken, group, rng) for taken in _sides(frame))
        yield hostile, frame, "stance", True
        yield friendly, frame, "stance", False
        chance = rng.random()
        if chance < _REJECTED:
            wrapper = rng.choice(around)
            yield fill(wrapper.replace("{x}", hostile), group, rng), wrapper, "rejected", False
        elif chance < _REJECTED + _NEGATED:
            negated = rng.choice(stance["negated"])
            # Negated hostility is harmless, negated praise is hostile.
            for taken, bad in zip(_sides(negated), (False, True), strict=True):
                yield fill(taken, group, rng), negated, "negated", bad


def _sides(frame: str) -> tuple[str, str]:
    return _CHOICE.sub(r"{\1}", frame), _CHOICE.sub(r"{\2}", frame)


def _written(text: str, rng: random.Random) -> str:
    """Now and then as people type: without capitals, without the last stop, with an ending."""
    if rng.random() < 0.22:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.removesuffix(".")
    if rng.random() < 0.05:
        text += rng.choice((" lol", "!!", " :)", "...", " imo", " tbh"))
    return text


def _measuring(frames: list[tuple[str, str, bool]], seed: int) -> list[Sentence]:
    rng = random.Random(seed)  # noqa: S311 - chooses names, guards no secret
    return [
        Sentence(fill(frame, group, rng), frame, group, kind, bad, bad)
        for group in group_forms()
        for frame, kind, bad in frames
    ]


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((_DIRECTORY / f"{name}.toml").read_text(encoding="utf-8"))
