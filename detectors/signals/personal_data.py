"""Personal data that has a form: addresses and numbers, by patterns and, where these have one, their check digits.

Names and postal addresses have no such form: `detectors.signals.heavy.presidio` looks for them, slowly.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address

import numpy as np

from detectors.signals import READ_CHARACTERS, Output, Readings, Texts, TextSignal

__all__ = ["KINDS", "SIGNALS", "PersonalData", "find"]

KINDS = ("email", "iban", "card", "ssn", "phone", "ip")

# Every pattern begins where nothing like it precedes, and repeats within bounds: time is linear in the text. What it
# begins with is looked for first, as that fails fastest.
_EMAIL = re.compile(r"(?<![\w.+%-])[\w+%-][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_IBAN = re.compile(r"(?=[A-Z]{2}\d\d)(?<!\w)[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?!\w)")
_CARD = re.compile(
    r"(?=\d)(?<![\w.+-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?![\w-])(?!\.\d)"
)
_SSN = re.compile(r"(?=\d{3}-)(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])(?!\.\d)")
_PHONE = re.compile(
    r"(?=[+(\d])(?<![\w.+-])(?<!\d )(?:"
    r"(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){7,14}"  # international
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"  # North American
    r"|0\d{2,5}[ /-]\d{3,4}[ -]?\d{3,5}"  # with a trunk prefix
    r")(?![\w-])(?! ?\d)(?!\.\d)"
)
_IP = re.compile(
    r"(?=\d{1,3}\.\d|[0-9a-fA-F]{0,4}:)(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
    r"|(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{1,4}(?![\w:.]))"
)
_DIGIT = re.compile(r"\d")

_PLACEHOLDER = re.compile(
    r"^(?:your|user|git)[\w.-]*@|[@.](?:example(?:\.\w+)?|test|invalid|local|(?:your|my)?-?(?:domain|company|email|mail)\.com)$",
    re.IGNORECASE,
)
_EXAMPLES = frozenset({"123-45-6789", "078-05-1120", "219-09-9999"})
_ISSUER = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6[0245]")
_CARD_EXAMPLE = frozenset({"4111111111111111", "4242424242424242", "5555555555554444", "378282246310005"})


class PersonalData(TextSignal):
    """Email addresses, IBANs, payment cards, US social security numbers, telephone numbers, public IP addresses.

    What is reserved for examples counts as none: `example.com`, documented test cards, private networks.
    """

    outputs = (
        Output(
            "personal_data",
            "binary",
            "holds an address or number of a person",
            threshold=0.5,
            higher_is_worse=True,
            watched="response",
        ),
        Output("personal_data_count", "scalar", "how many of them", higher_is_worse=True, watched=False),
    )
    labels = ("personal_data_kinds",)

    def score_texts(self, texts: Texts) -> Readings:
        """Counts of the first 20,000 characters; the label names the kinds found."""
        found = [find(text) for text in texts.texts]
        counts = np.array([each.total() for each in found], dtype=np.float64)
        kinds = [", ".join(kind for kind in KINDS if kind in each) for each in found]
        return Readings(
            {"personal_data": (counts > 0).astype(np.float64), "personal_data_count": counts},
            {"personal_data_kinds": kinds},
        )


def find(text: str) -> Counter[str]:
    """How many there are of each kind."""
    seen, counts = text[:READ_CHARACTERS], Counter[str]()
    if "@" in seen:
        counts["email"] = sum(1 for match in _EMAIL.finditer(seen) if not _PLACEHOLDER.search(match[0]))
    digits = len(_DIGIT.findall(seen))
    for kind, pattern, holds, least in _NUMBERS:
        if digits >= least:
            counts[kind], seen = _taken(pattern, holds, seen)  # what one kind has taken is none of the next
    return +counts


def _taken(pattern: re.Pattern[str], holds: Callable[[str], bool], text: str) -> tuple[int, str]:
    """How many hold, and the text without them."""
    found = [match.span() for match in pattern.finditer(text) if holds(match[0])]
    ends, starts = [0, *(end for _, end in found)], [*(start for start, _ in found), len(text)]
    return len(found), " ".join(text[end:start] for end, start in zip(ends, starts, strict=True))


def _is_iban(text: str) -> bool:
    """ISO 13616: the first four characters behind the others, letters as numbers, 1 modulo 97."""
    plain = re.sub("[ -]", "", text)
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """ISO/IEC 7812: a known kind of issuer, and Luhn's check digit."""
    digits = re.sub("[ -]", "", text)
    doubled = (int(c) * 2 for c in digits[-2::-2])
    total = sum(int(c) for c in digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)
    return (
        _ISSUER.match(digits) is not None and total % 10 == 0 and digits not in _CARD_EXAMPLE and len(set(digits)) > 2
    )


def _is_phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 8 <= len(digits) <= 15 and "55501" not in digits and len(set(digits)) > 3


def _is_public_ip(text: str) -> bool:
    if len(text) == len("1.2.3.4"):
        return False  # a version, or one of the public resolvers
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


# The surest first; the last column is how many digits there are in one at least.
_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool], int], ...] = (
    ("iban", _IBAN, _is_iban, 6),
    ("card", _CARD, _is_card, 13),
    ("ssn", _SSN, lambda text: text not in _EXAMPLES, 9),
    ("ip", _IP, _is_public_ip, 4),
    ("phone", _PHONE, _is_phone, 8),
)

SIGNALS = (PersonalData,)
