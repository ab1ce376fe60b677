"""What is read off any text: gibberish, readability, identity groups."""

import numpy as np
import pytest

from detectors.signals.groups import GROUPS, groups_of
from detectors.signals.letters import LETTERS, read_table

GERMAN = "Das Wetter in den Bergen ändert sich schnell, also nimm immer eine warme Jacke mit."


@pytest.fixture
def read(scorer):
    return lambda text: scorer.score_texts([text])[0]


@pytest.mark.parametrize("text", ["asdfgh jkl qwrtzp xcvbnm dfghjkl", "xkqzj wvbfh pqrstk zzxcq mnbvgt", "hq" * 400])
def test_letters_in_no_order_are_gibberish(read, text):
    assert "gibberish" in read(text).flags


@pytest.mark.parametrize(
    "text",
    [
        "Please tell me how the weather in the mountains changes during spring.",
        "hw r u? thx 4 ur help w/ my acount, its not workng agian",
        "Run `kubectl get pods -n kube-system` and check NGINX_HTTP_V2 in /etc/nginx/nginx.conf",
        "Wie lange sollen Tom und ich hierbleiben?",
        "Tom Brzezinski and Anh Nguyen met Siobhan Schwarzenegger in Llanfairpwll on Wednesday.",
    ],
)
def test_words_are_not(read, text):
    assert "gibberish" not in read(text).flags


def test_other_languages_and_scripts_are_not_judged(read):
    for text in (GERMAN, "山の天気は変わりやすいので、上着を持って行ってください。", "12 + 30 = 42", "ok"):
        assert "gibberish" not in read(text).signals


def test_the_table_holds_probabilities():
    table = read_table().reshape(LETTERS, LETTERS, LETTERS)
    assert table.shape == (LETTERS,) * 3
    np.testing.assert_allclose(np.exp(table.astype(np.float64)).sum(axis=2), 1, atol=0.01)


def test_plain_words_are_easier_to_read_than_long_ones(read):
    plain = read("The cat sat on the mat. It was warm in the sun. The dog ran to the door and sat.").signals
    dense = read(
        "Institutional considerations regarding organisational interdependencies necessitate comprehensive "
        "interdisciplinary investigation of administrative responsibilities."
    ).signals
    assert plain["reading_ease"] > 80 > 20 > dense["reading_ease"]
    assert plain["reading_grade"] < 5 < 15 < dense["reading_grade"]


def test_readability_is_that_of_english_alone(read):
    for text in (GERMAN, "Too short.", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25"):
        assert "reading_ease" not in read(text).signals


def test_there_are_enough_groups():
    assert len(GROUPS) >= 40


def test_every_group_is_found_by_its_own_words():
    for group, words in GROUPS.items():
        for word in words.split():
            text = word.replace("-", " ").replace("+", " people").split()
            assert group in groups_of(text), (group, word)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("My Muslim neighbour and two women", "muslims, women"),
        ("a black coat, white paper, a straight line, blind trust and an old book", ""),
        ("black people and older adults", "black people, old people"),
        ("African American students", "africans, black people"),
        ("She is Middle Eastern.", "arabs"),
        ("", ""),
    ],
)
def test_groups_are_told_by_the_words_around(read, text, groups):
    assert read(text).labels.get("groups", "") == groups


def test_mentioning_a_group_is_no_number_and_no_flag(read):
    scores = read("Two Jewish women run the bakery around the corner of our street.")
    assert scores.flags == []
    assert not any("group" in name for name in scores.signals)
