"""Rows made of others: a group's name put into ordinary sentences, groups exchanged, spelling disturbed.

Public sets name few groups and mostly in hatred. These rows keep the words around a name as people wrote them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import cycle

from detectors.heads.training.sentences import an, group_forms
from detectors.heads.training.sources import Record, Row, row

__all__ = ["carriers", "carrying", "disturbed", "exchanged", "named_group"]

_SOMEBODY = re.compile(
    r"\b(?:(?P<people>people|persons|individuals|students|patients|users|customers|workers|players|citizens|employees"
    r"|visitors|children|adults|families|residents|others|friends|humans|men|women|boys|girls)"
    r"|an? (?:person|student|patient|user|customer|worker|player|citizen|friend|human|teacher|child|man|woman))\b",
    re.IGNORECASE,
)
_DOUBTFUL = re.compile(
    r"\b(kill|hat|stupid|evil|murder|fuck|shit|rap(?:e|ing)|idiot|damn|terror|crim|illegal|violen|abus|attack)",
    re.IGNORECASE,
)
"""With one of these a sentence may turn hostile when a group's name is put into it."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_SHORT = 160
"""Characters of a row that is worth changing: in longer ones a change is lost."""
_NEIGHBOURS = {"a": "@4s", "e": "3", "i": "1!", "o": "0", "s": "$5z", "t": "7", "l": "1"}


def carrying(records: Sequence[Record], count: int, seed: int) -> list[tuple[str, str, str]]:
    """At most `count` ordinary sentences with the name of a group put in for a noun: text, the record's key, group.

    The groups take turns.
    """
    rng = random.Random(seed)  # noqa: S311 - chooses words, guards no secret
    found = {sentence: one["key"] for one in records for sentence in _sentences(one["text"])}
    chosen = rng.sample(sorted(found), min(count, len(found)))
    turns = zip(chosen, cycle(group_forms()))
    return [(_put(sentence, group, rng), found[sentence], group) for sentence, group in turns]


def carriers(records: Sequence[Record], count: int = 3_000, seed: int = 3) -> Iterator[Row]:
    """Harmless rows of ordinary sentences with a name of a group in them."""
    for text, key, _ in carrying(records, count, seed):
        yield row("carriers", text, {"toxicity": 0, "identity_attack": 0}, 1, key, measured=False)


def exchanged(rows: Sequence[Row], count: int = 2_000, seed: int = 4) -> Iterator[Row]:
    """Rows with the groups they name exchanged for others; labels and folds stay."""
    rng = random.Random(seed)  # noqa: S311 - chooses words, guards no secret
    pattern, forms = _lexicon()
    naming = [one for one in rows if len(one.text) <= _SHORT and pattern.search(one.text)]
    for one in rng.sample(naming, min(count, len(naming))):
        to: dict[str, str] = {}

        def another(match: re.Match[str], to: dict[str, str] = to) -> str:
            group, form = forms[match[0].lower()]
            if group not in to:
                to[group] = rng.choice([name for name in group_forms() if name != group])
            return rng.choice(group_forms()[to[group]][form])

        yield row("exchanged", an(pattern.sub(another, one.text)), one.labels, one.weight * 0.7, one.key, False)


def named_group(text: str) -> str:
    """The group that a text names first; empty where it names none."""
    pattern, forms = _lexicon()
    match = pattern.search(text)
    return forms[match[0].lower()][0] if match else ""


def disturbed(rows: Sequence[Row], count: int = 2_000, seed: int = 5) -> Iterator[Row]:
    """Short rows, hostile and harmless alike, spelled as people spell who mistype or hide."""
    rng = random.Random(seed)  # noqa: S311 - chooses letters, guards no secret
    short = [one for one in rows if len(one.text) <= _SHORT]
    for one in rng.sample(short, min(count, len(short))):
        words = one.text.split(" ")
        for number in rng.sample(range(len(words)), max(1, len(words) // 4)):
            words[number] = _misspelled(words[number], rng)
        yield row("disturbed", " ".join(words), one.labels, one.weight * 0.6, one.key, measured=False)


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(text):
        plain = re.sub(r"^[\s\-*\d.:)#>]+", "", sentence).strip()
        fits = 4 <= len(plain.split()) <= 32 and len(plain) < 220
        if fits and _SOMEBODY.search(plain) and not _DOUBTFUL.search(plain):
            yield plain


def _put(sentence: str, group: str, rng: random.Random) -> str:
    plurals, singulars, _ = group_forms()[group]

    def named(match: re.Match[str]) -> str:
        name = rng.choice(plurals if match["people"] else singulars)
        return name[0].upper() + name[1:] if match[0][0].isupper() else name

    text = an(_SOMEBODY.sub(named, sentence, count=1))
    return text.lower() if rng.random() < 0.2 else text


def _misspelled(word: str, rng: random.Random) -> str:
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(5)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 2:
        return word[:at] + word[at] * 2 + word[at:]
    if kind == 3:
        return word[:at] + "*" + word[at + 1 :]
    return "".join(rng.choice(_NEIGHBOURS.get(letter.lower(), letter)) for letter in word)


@cache
def _lexicon() -> tuple[re.Pattern[str], Mapping[str, tuple[str, int]]]:
    """A pattern of all names, longest first, and for each its group and its form."""
    forms: dict[str, tuple[str, int]] = {}
    for group, kinds in group_forms().items():
        for form, names in enumerate(kinds):
            forms |= {name.lower(): (group, form) for name in names}
    for ambiguous in ("young", "foreign", "guys", "straight", "poor", "ladies"):
        forms.pop(ambiguous, None)
    longest_first = sorted(map(re.escape, forms), key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(longest_first)})\b", re.IGNORECASE), forms
