"""What is read off a response: cut off, in the asked format, grounded, like the reference answer."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.signals.reference import common_sequence
from tocsin.contracts import Interaction

PROSE = "The river rises in the hills. It flows through two towns, and reaches the sea after forty miles. "


@pytest.fixture
def score(scorer):
    def one(response: str, prompt: str = "Tell me about the river.", **fields: object):
        return scorer.score([Interaction(application="shop", prompt=prompt, response=response, **fields)])[0].signals

    return one


@pytest.mark.parametrize(
    "response",
    [
        PROSE + "The water is used for the",
        PROSE + "The water is used for fields, houses and,",
        PROSE + "The mill was built by monks (about the year",
        PROSE + "The old mill at the northern end was built by monks who lived near the",
        "Use this:\n\n```python\nprint('never closed')",
        "- The first point is about rivers and their hills.\n- The second is about the towns that lie on them.\n"
        "- The third point is about the sea and the harbours tha",
    ],
)
def test_a_response_that_stops_in_the_middle_is_cut_off(score, response):
    assert score(response)["cut_off"] == 1


@pytest.mark.parametrize(
    "response",
    [
        PROSE.strip(),
        "Lima",
        "A: 18",
        "Use this:\n\n```python\nprint('closed')\n```",
        "| river | length |\n|---|---|\n| the long one that flows to the sea | 40 |",
        "1. Bread and butter with a bit of salt\n2. Soup of whatever the garden has to give",
        "See https://example.org/a/very/long/address/that/ends/in/the",
        "def flow(river, sea, town, mill, hill, bridge, harbour):\n    return river + sea + town + mill + hill + 1",
        "Best regards,\nthe team of the river and its many friends",
    ],
)
def test_a_response_that_ends_where_it_should_is_not(score, response):
    assert score(response)["cut_off"] == 0


def test_the_reported_reason_is_believed(score):
    assert score(PROSE, finish_reason="length")["cut_off"] == 1
    assert score(PROSE + "The water is used for the", finish_reason="stop")["cut_off"] == 0
    assert score("", finish_reason="MAX_TOKENS")["cut_off"] == 1
    assert "cut_off" not in score("")


@pytest.mark.parametrize(
    ("response", "invalid"),
    [
        ('{"a": [1, 2]}', 0),
        ('```json\n{"a": 1}\n```', 0),
        ('Here you are:\n```json\n{"a": 1}\n```\nAnything else?', 0),
        ('```json\n{"a": 1, }\n```', 1),
        ("{'a': 1}", 1),
        ('Sure! {"a": 1}', 1),
        ('{"a": NaN}', 1),
        ('{"a": 1', 1),
        ("", 1),
    ],
)
def test_json_that_was_asked_for_is_checked(score, response, invalid):
    assert score(response, attributes={"output_type": "json"})["json_invalid"] == invalid
    assert score(response, prompt="Give me a. Reply only with JSON.")["json_invalid"] == invalid
    chat = [{"role": "system", "content": "Answer with nothing but JSON."}, {"role": "user", "content": "a?"}]
    assert score(response, prompt=chat)["json_invalid"] == invalid


def test_a_block_that_is_an_excerpt_is_not_judged(score):
    assert "json_invalid" not in score('Change this:\n```json\n"require": {"php": "8"}\n```')
    assert "json_invalid" not in score('```json\n{"a": 1, ...}\n```')
    assert "json_invalid" not in score("JSON is a format.", prompt="What is JSON?")


@pytest.mark.parametrize(
    ("output_type", "response", "invalid"),
    [
        ("json_lines", '{"a": 1}\n{"a": 2}', 0),
        ("json_lines", '{"a": 1}\nand so on', 1),
        ("csv", "a,b\n1,2", 0),
        ("csv", "a,b\n1,2,3", 1),
        ("number", "-1,234.5", 0),
        ("number", "about 12", 1),
        ("number", "", 1),
        ("json", '```\n{"a": 1}\n```', 0),
        ("json", "[" * 100_000, 1),
    ],
)
def test_a_declared_format_is_checked(score, output_type, response, invalid):
    assert score(response, attributes={"output_type": output_type})["format_invalid"] == invalid


def test_an_undeclared_or_unknown_format_is_not_checked(score):
    assert "format_invalid" not in score("a")
    assert "format_invalid" not in score("a", attributes={"output_type": "image"})


CONTEXT = ["Lima is the capital of Peru. It was founded in 1535 by Pizarro and has ten million inhabitants."]


def test_what_the_context_holds_is_supported(score):
    assert score("Pizarro founded Lima in 1535.", context=CONTEXT)["unsupported"] == 0


def test_names_and_numbers_from_nowhere_are_not(score):
    assert score("Cusco was founded in 1533 by Almagro.", context=CONTEXT)["unsupported"] > 0.5


def test_groundedness_needs_context_and_words(score):
    assert "unsupported" not in score("Lima was founded in 1535.")
    assert "unsupported" not in score("", context=CONTEXT)
    assert "unsupported" not in score("利马是秘鲁的首都。", context=CONTEXT)


def test_the_reference_answer_itself_is_a_perfect_match(score):
    signals = score("The capital is Lima.", reference="the capital is LIMA")
    names = ("exact_match", "token_f1", "rouge_l")
    assert [signals[name] for name in names] == [1, 1, 1]
    assert signals["reference_similarity"] > 0.95


def test_another_order_of_words_costs_rouge_and_not_f1(score):
    signals = score("two one", reference="one two")
    assert (signals["exact_match"], signals["token_f1"], signals["rouge_l"]) == (0, 1, 0.5)


def test_without_a_reference_answer_there_are_no_reference_metrics(score):
    assert {"exact_match", "token_f1", "rouge_l", "reference_similarity"}.isdisjoint(score("Lima"))
    assert "exact_match" not in score("Lima", reference="")


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_the_common_sequence_is_the_longest(one, other):
    def parts(words):
        return {part for size in range(len(words) + 1) for part in itertools.combinations(words, size)}

    assert common_sequence(one, other) == max(len(part) for part in parts(one) & parts(other))


def test_speed_is_counted_from_the_first_token_on(score):
    usage = {"output_tokens": 100}
    assert score("a", latency_ms=1_200, time_to_first_token_ms=200, usage=usage)["tokens_per_second"] == 100
    assert score("a", latency_ms=1_000, usage=usage)["tokens_per_second"] == 100
    assert "tokens_per_second" not in score("a", latency_ms=5, time_to_first_token_ms=5, usage=usage)
