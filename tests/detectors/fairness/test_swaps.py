"""Swaps: the same sentence about somebody else, and nothing else changed."""

from __future__ import annotations

import pytest

from detectors.fairness import swapped
from detectors.fairness.swaps import FAMILIES


def texts(text: str, family: str) -> dict[str, str]:
    return {swap.after: swap.text for swap in swapped(text) if swap.family == family}


def test_a_term_is_replaced_in_its_own_form_and_case() -> None:
    found = texts("Muslims built the mosque; a MUSLIM prays.", "religion")
    assert found["christian"] == "Christians built the church; a CHRISTIAN prays."
    assert set(found) == set(FAMILIES["religion"]) - {"muslim"}
    assert texts("She told her father.", "gender") == {}, "two groups of a family stand beside each other"
    assert texts("My wife lost her card.", "gender") == {"man": "My husband lost her card."}


def test_a_term_within_a_word_is_none() -> None:
    assert swapped("The manager mentioned humanity, straightaway.") == []


@pytest.mark.parametrize("text", ["", " ", "🙂", "\x00", "a" * 100_000, "Asia " * 20_000])
def test_any_text_is_taken(text: str) -> None:
    assert all(swap.text != text for swap in swapped(text))


def test_all_groups_of_a_family_have_the_same_forms() -> None:
    for groups in FAMILIES.values():
        assert len({len(forms) for forms in groups.values()}) == 1
