"""Identity groups that a text mentions: for comparing how people of different groups are treated, never for judging.

A mention says nothing about who wrote the text. Words with another everyday meaning count only beside a word for
people: "black people", not "a black coat".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from detectors.signals import Readings, Texts, TextSignal

__all__ = ["GROUPS", "SEPARATOR", "SIGNALS", "Groups", "groups_of"]

SEPARATOR = ", "
_PEOPLE_WORDS = """
people person persons man men woman women boy boys girl girls child children kid kids guy guys folk folks family
families community communities student students worker workers neighbour neighbours neighbor neighbors couple
couples colleague colleagues friend friends patient patients teacher teachers youth citizens americans american
candidate candidates applicant applicants customer customers employee employees individuals adults parents voters
actor actress author authors writer writers nurse doctor boss teenager teenagers
"""
_PEOPLE = frozenset(_PEOPLE_WORDS.split())

GROUPS: Mapping[str, str] = {
    # religion
    "muslims": "muslim muslims islamic",
    "christians": "christian christians",
    "catholics": "catholic catholics",
    "protestants": "protestant protestants",
    "jews": "jew jews jewish",
    "hindus": "hindu hindus",
    "buddhists": "buddhist buddhists",
    "sikhs": "sikh sikhs",
    "mormons": "mormon mormons",
    "atheists": "atheist atheists",
    # origin
    "black people": "african-americans afro-american afro-americans black+ blacks",
    "white people": "caucasian caucasians white+",
    "asians": "asian asians asian-american asian-americans",
    "latinos": "latino latinos latina latinas latinx hispanic hispanics chicano chicanos",
    "native americans": "indigenous+ aboriginal aboriginals",
    "arabs": "arab arabs arabic+",
    "africans": "african africans nigerian nigerians kenyan kenyans ethiopian ethiopians somali somalis",
    "indians": "indian+ indians pakistani pakistanis bangladeshi bangladeshis",
    "chinese people": "chinese+",
    "japanese people": "japanese+",
    "koreans": "korean+ koreans",
    "mexicans": "mexican+ mexicans",
    "russians": "russian+ russians",
    "ukrainians": "ukrainian+ ukrainians",
    "poles": "polish+",
    "germans": "german+ germans",
    "french people": "french+ frenchman frenchwoman",
    "british people": "british+ englishman englishwoman",
    "italians": "italian+ italians",
    "irish people": "irish+ irishman irishwoman",
    "turks": "turkish+ turks",
    "iranians": "iranian iranians persian+",
    "israelis": "israeli israelis",
    "palestinians": "palestinian palestinians",
    "roma": "romani gypsy gypsies",
    "immigrants": "immigrant immigrants migrant migrants foreigner foreigners expatriate expatriates",
    "refugees": "refugee refugees asylum-seeker asylum-seekers",
    # sex and gender
    "women": "woman women female+ females girl girls mother mothers wife wives lady ladies",
    "men": "man men male+ males boy boys father fathers husband husbands gentleman gentlemen",
    "transgender people": "transgender transgendered transsexual transsexuals trans+ transwoman transman",
    "nonbinary people": "nonbinary non-binary genderqueer enby agender",
    "gay people": "gay gays homosexual homosexuals",
    "lesbians": "lesbian lesbians",
    "bisexuals": "bisexual bisexuals pansexual pansexuals",
    "queer people": "queer queers lgbt lgbtq lgbtqia",
    "straight people": "heterosexual heterosexuals straight+ cisgender",
    # body, mind and age
    "disabled people": "disabled disability disabilities wheelchair handicapped paraplegic amputee amputees",
    "blind people": "blind+",
    "deaf people": "deaf hearing-impaired",
    "autistic people": "autistic autism neurodivergent",
    "mentally ill people": "schizophrenic schizophrenics bipolar+ mentally-ill",
    "overweight people": "overweight obese fat+",
    "old people": "elderly pensioner pensioners senior-citizen senior-citizens old+ older+",
    "young people": "teenager teenagers teenage millennials young+ younger+",
    "pregnant women": "pregnant",
    # standing
    "poor people": "homeless poor+ working-class",
    "rich people": "rich+ wealthy+ billionaires",
    "veterans": "veteran veterans",
    "prisoners": "prisoner prisoners inmate inmates ex-convict ex-convicts",
}
"""Group to its words; `+`: only before a word for people. Two words are joined by a hyphen."""

_PHRASES = {"native americans": "native american", "arabs": "middle eastern", "black people": "african american"}


def _table() -> tuple[dict[str, str], dict[str, str], dict[tuple[str, str], str]]:
    alone: dict[str, str] = {}
    before_people: dict[str, str] = {}
    pairs: dict[tuple[str, str], str] = {}
    for group, words in GROUPS.items():
        for word in words.split():
            if "-" in word:
                first, _, second = word.partition("-")
                pairs[first, second] = group
            elif word.endswith("+"):
                before_people[word[:-1]] = group
            else:
                alone[word] = group
    for group, phrase in _PHRASES.items():
        first, _, second = phrase.partition(" ")
        pairs |= {(first, second): group, (first, f"{second}s"): group}
    return alone, before_people, pairs


_ALONE, _BEFORE_PEOPLE, _PAIRS = _table()
_FIRST_OF_TWO = _BEFORE_PEOPLE.keys() | {first for first, _ in _PAIRS}
_TELLING = _ALONE.keys() | _FIRST_OF_TWO


class Groups(TextSignal):
    """The groups as one label, by the alphabet; absent where none is mentioned."""

    labels = ("groups",)

    def score_texts(self, texts: Texts) -> Readings:
        """Names of `GROUPS`, with `SEPARATOR` between them."""
        return Readings({}, {"groups": [SEPARATOR.join(sorted(groups_of(words))) for words in texts.words]})


def groups_of(words: Sequence[str]) -> set[str]:
    """The groups that words in lower case mention."""
    return set(_mentions(words)) if not _TELLING.isdisjoint(words) else set()


def _mentions(words: Sequence[str]) -> Iterator[str]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in _ALONE:
            yield _ALONE[word]
        if word in _FIRST_OF_TWO:
            if following in _PEOPLE and word in _BEFORE_PEOPLE:
                yield _BEFORE_PEOPLE[word]
            if (word, following) in _PAIRS:
                yield _PAIRS[word, following]


SIGNALS = (Groups,)
