"""Files scored and replayed without engines: nothing in a file stops the scoring, everything wrong stops a replay."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from streams.offline import backtest_lines, score_lines
from streams.settings import Budget, ConfigurationError, Settings

SETTINGS = Settings(budget=Budget(pages_per_30_days=30))
UNITS = 2_300  # many of them repeat another, so that the prompts' own reference just reaches its 2,000
WORDS = (
    ("please", "could you", "I want to", "help me", "what does it cost to", "when can I", "why should I"),
    ("book", "cancel", "move", "paint", "forget", "change", "sell", "compare", "photograph", "clean"),
    ("a flight", "the hotel", "my guitar", "a train", "our tickets", "the taxi", "a horse", "my teeth", "the soup"),
    ("to Rome", "in May", "for two", "on Friday", "near the sea", "for my mother", "before noon", "with a friend"),
)
GERMAN = (
    ("Bitte", "Kannst du", "Ich will", "Wir müssen", "Darf ich"),
    ("morgen", "heute", "am Freitag", "im Sommer", "gleich", "nie wieder"),
    ("das Haus", "den Garten", "die Katze", "einen Kuchen", "das Fahrrad"),
    ("sehen", "malen", "suchen", "verkaufen", "waschen"),
)


def sentences(words: tuple[tuple[str, ...], ...], seed: int) -> list[str]:
    """All sentences of these words, shuffled."""
    found = [" ".join(parts) for parts in itertools.product(*words)]
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def texts(lines: list[str]) -> list[str]:
    return [json.dumps({"text": line}) for line in lines]


@pytest.fixture(scope="module")
def replayed() -> list[dict[str, Any]]:
    """A replay of ordinary requests that begin to be German."""
    ordinary = sentences(WORDS, 0)
    lines = [*texts(ordinary[: UNITS + 300]), "", "  ", *texts(sentences(GERMAN, 1)[:150])]
    return list(backtest_lines(lines, SETTINGS, [], UNITS))


def test_a_replay_pages_after_the_change_and_not_before(replayed: list[dict[str, Any]]) -> None:
    *found, summary = replayed
    assert {page["stream"] for page in found} >= {"prompt"}
    first = next(page for page in found if page["stream"] == "prompt")
    assert UNITS + 300 <= int(first["interaction_id"]) < UNITS + 400
    assert summary["pages"] == len(found) and summary["events"] == UNITS + 450


def test_a_finding_says_where_since_when_and_how_large(replayed: list[dict[str, Any]]) -> None:
    first = next(page for page in replayed if page.get("stream") == "prompt")
    assert set(first) == {
        *("application", "stream", "lane", "position", "occurred_at", "evidence", "began_estimate", "effect", "share"),
        "interaction_id",
    }
    assert first["application"] == "file" and first["evidence"] >= 1 and first["effect"]["units"] > 0
    json.dumps(replayed)


def test_the_summary_says_how_many_pages_chance_would_have_sent(replayed: list[dict[str, Any]]) -> None:
    watched_minutes = 450 - 1
    expected = 30 * watched_minutes * 60 / (30 * 86_400)
    assert replayed[-1]["expected_false_pages"] == pytest.approx(expected)


def test_a_reference_that_is_too_small_is_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigurationError, match=r"the reference of file is refused: prompt: .*vectors at least"
    ) as refused:
        list(backtest_lines(texts(sentences(WORDS, 0)[:40]), SETTINGS, [], 20))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("line", "why"), [("nonsense", "not JSON"), ("{}", "prompt: Field required"), ("[]", "")])
def test_a_line_that_is_no_interaction_stops_a_replay_and_is_named(line: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"backtest: line 3: .*{why}"):
        list(backtest_lines([*texts(["one", "two"]), line], SETTINGS, [], 3))


def test_scoring_answers_every_line_in_order_and_nothing_stops_it() -> None:
    interaction = {"prompt": "What is your name?", "response": "I am sorry, but I cannot help with that."}
    lines = [
        json.dumps({"text": "you are a horrible idiot"}),
        "no json",
        json.dumps(interaction),
        "",
        '{"prompt": 5}',
        '{"prompt": "a", "response": "b", "colour": "red"}',
        '"text"',
        '{"text": "\\ud83d"}',
        "half \ud83d of a pair",
        json.dumps({"text": ""}),
        json.dumps({"text": "what a lovely day"}),
    ]
    scored = list(score_lines(lines, SETTINGS))
    kinds = ["error" if "error" in each else "signals" for each in scored]
    assert kinds == ["signals", "error", "signals", *["error"] * 5, "signals", "signals"]
    assert scored[0]["signals"]["toxicity"] > scored[-1]["signals"]["toxicity"]
    assert all("idiot" not in str(each) and "lovely" not in str(each) for each in scored)
    assert list(score_lines([], SETTINGS)) == []
