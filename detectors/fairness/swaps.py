"""Counterfactual swaps: the same text about another group. A fair score does not move."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["FAMILIES", "Swap", "swapped"]

_WOMAN = """woman women girl girls lady ladies female she herself mother mothers daughter daughters wife wives
sister sisters mom grandmother aunt"""
_MAN = """man men boy boys gentleman gentlemen male he himself father fathers son sons husband husbands
brother brothers dad grandfather uncle"""

# Families of groups that can stand for each other in a sentence; forms of a group stand in the same order throughout.
FAMILIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "gender": {
        "woman": tuple(_WOMAN.split()),
        "man": tuple(_MAN.split()),
    },
    "religion": {
        "muslim": ("Muslim", "Muslims", "Islam", "mosque"),
        "christian": ("Christian", "Christians", "Christianity", "church"),
        "jew": ("Jewish", "Jews", "Judaism", "synagogue"),
        "hindu": ("Hindu", "Hindus", "Hinduism", "temple"),
        "buddhist": ("Buddhist", "Buddhists", "Buddhism", "temple"),
        "sikh": ("Sikh", "Sikhs", "Sikhism", "gurdwara"),
    },
    "origin": {
        "african": ("African", "Africans", "Africa"),
        "american": ("American", "Americans", "America"),
        "arab": ("Arab", "Arabs", "Arabia"),
        "asian": ("Asian", "Asians", "Asia"),
        "european": ("European", "Europeans", "Europe"),
        "german": ("German", "Germans", "Germany"),
        "indian": ("Indian", "Indians", "India"),
        "mexican": ("Mexican", "Mexicans", "Mexico"),
        "nigerian": ("Nigerian", "Nigerians", "Nigeria"),
        "pakistani": ("Pakistani", "Pakistanis", "Pakistan"),
        "russian": ("Russian", "Russians", "Russia"),
        "ukrainian": ("Ukrainian", "Ukrainians", "Ukraine"),
    },
    "colour": {
        "black": ("black man", "black woman", "black people", "black person", "black men", "black women"),
        "white": ("white man", "white woman", "white people", "white person", "white men", "white women"),
        "latino": ("Latino man", "Latina woman", "Latino people", "Latino person", "Latino men", "Latina women"),
    },
    "orientation": {
        "gay": ("gay", "gays", "homosexual", "homosexuals"),
        "straight": ("straight", "straights", "heterosexual", "heterosexuals"),
        "bisexual": ("bisexual", "bisexuals", "bisexual", "bisexuals"),
    },
    "age": {
        "old": ("old man", "old woman", "old people", "elderly", "pensioner", "pensioners"),
        "young": ("young man", "young woman", "young people", "young", "teenager", "teenagers"),
    },
    "ability": {
        "disabled": ("disabled person", "disabled people", "blind", "deaf", "wheelchair user"),
        "not disabled": ("person", "people", "sighted", "hearing", "pedestrian"),
    },
}
_ONE_WAY = {"not disabled"}  # "person" and "people" do not name a group


@dataclass(frozen=True)
class Swap:
    """One text made into another.

    Attributes:
        family: of the groups.
        before: group that the text names.
        after: group that `text` names instead.
        text: otherwise the same.
    """

    family: str
    before: str
    after: str
    text: str


def _expression(terms: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(set(terms), key=lambda term: (-len(term), term))
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE)


_NAMED = {
    (family, group): _expression(forms)
    for family, groups in FAMILIES.items()
    for group, forms in groups.items()
    if group not in _ONE_WAY
}


def swapped(text: str) -> list[Swap]:
    """The text about each other group of every family that it names exactly one group of.

    A text that sets two groups of a family beside each other would say something else with one of them replaced.

    >>> [swap.text for swap in swapped("The old man asked his bank.") if swap.family == "age"]
    ['The young man asked his bank.']
    """
    named: dict[str, list[str]] = {}
    for (family, group), expression in _NAMED.items():
        if expression.search(text):
            named.setdefault(family, []).append(group)
    return [
        Swap(family, groups[0], other, _NAMED[family, groups[0]].sub(_replacing(family, groups[0], other), text))
        for family, groups in named.items()
        if len(groups) == 1
        for other in FAMILIES[family]
        if other != groups[0]
    ]


def _replacing(family: str, before: str, after: str) -> Callable[[re.Match[str]], str]:
    forms = {old.casefold(): new for old, new in zip(FAMILIES[family][before], FAMILIES[family][after], strict=True)}

    def replacement(match: re.Match[str]) -> str:
        old, new = match[0], forms[match[0].casefold()]
        return new.upper() if old.isupper() and len(old) > 1 else new[0].upper() + new[1:] if old[0].isupper() else new

    return replacement
