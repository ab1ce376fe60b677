"""Names and figures as people read them."""

from __future__ import annotations

import pytest

from dashboards.web.words import count, figure, lane_words, percent, quantity_words, relative, stream_unit, stream_words


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ("prompt", "what people ask"),
        ("prompt.toxicity", "toxicity of prompts"),
        ("response.length_tokens", "length in tokens of responses"),
        ("latency_ms", "latency"),
        ("response.my_own", "my own of responses"),
        ("my_own", "my own"),
    ],
)
def test_every_stream_has_words(stream: str, words: str) -> None:
    assert stream_words(stream) == words


def test_lanes_and_quantities_have_words() -> None:
    assert lane_words("look 64") == "the last 64 units against the reference"
    assert lane_words("a new lane") == "a new lane"
    assert quantity_words("rate of prompt.toxicity") == "rate of toxicity of prompts"
    assert quantity_words("share of units stranger than 95 %") == "share of units stranger than 95 %"


@pytest.mark.parametrize(
    ("amount", "words"), [(0, "0"), (0.02, "0.02"), (1.0, "1"), (1234.5, "1\u202f234"), (0.00001, "1e-05")]
)
def test_a_figure_has_three_significant_digits(amount: float, words: str) -> None:
    assert figure(amount) == words


def test_shares_counts_and_units() -> None:
    assert (percent(0), percent(0.004), percent(0.5)) == ("0\u202f%", "0.4\u202f%", "50\u202f%")
    assert count(1234567) == "1\u202f234\u202f567"
    assert (stream_unit("latency_ms"), stream_unit("relevance")) == (" ms", "")


@pytest.mark.parametrize(
    ("before", "now", "words"), [(1, 1.5, "+50\u202f%"), (1, 0.5, "−50\u202f%"), (1, 4, "×4"), (0, 1, "")]
)
def test_a_change_is_relative_where_that_says_something(before: float, now: float, words: str) -> None:
    assert relative(before, now) == words
