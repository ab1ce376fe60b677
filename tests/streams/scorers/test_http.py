"""A scorer over HTTP, against a server that is slow, wrong, broken or gone."""

import logging
import threading

import httpx
import numpy as np
import pytest

from streams.metrics import SIGNAL_FAILURES
from streams.scorers.guarded import guarded
from streams.scorers.http import ScorerPausedError, WrongAnswerError, open_http_scorer
from streams.settings import HttpScorer


@pytest.fixture
def scorer(server):
    def one(**changed):
        plain = {"name": "tone", "url": server.url, "outputs": [{"name": "warmth"}], "time_limit_seconds": 5}
        return open_http_scorer(HttpScorer(**plain | changed), clock=lambda: one.now)

    one.now = 0.0
    return one


def lengths(body):
    return {"outputs": {"warmth": [len(text) for text in body["texts"]]}}


def test_numbers_come_in_the_order_of_the_texts(server, scorer, texts):
    server.answer = lengths
    assert scorer().score_texts(texts("a", "bbb", "cc")).numbers["warmth"].tolist() == [1, 3, 2]


def test_blank_texts_are_not_sent(server, scorer, texts):
    server.answer = lengths
    found = scorer().score_texts(texts("", "four", " \n")).numbers["warmth"]
    np.testing.assert_array_equal(found, [np.nan, 4, np.nan])
    assert server.asked == [{"texts": ["four"]}]
    scorer().score_texts(texts("", " "))
    assert len(server.asked) == 1


def test_many_texts_are_several_requests(server, scorer, texts):
    server.answer = lengths
    found = scorer(batch=4).score_texts(texts(*("x" * n for n in range(1, 11)))).numbers["warmth"]
    assert found.tolist() == list(range(1, 11))
    assert sorted(len(body["texts"]) for body in server.asked) == [2, 4, 4]


def test_whole_interactions_may_be_asked_about(server, scorer, exchanges):
    server.answer = lambda body: {"outputs": {"warmth": [0.5 for _ in body["interactions"]]}}
    found = scorer(reads="interactions").score_interactions(exchanges(("Hi", "Hello"), context=["a passage"]))
    assert found.numbers["warmth"].tolist() == [0.5]
    (asked,) = server.asked[0]["interactions"]
    assert (asked["prompt"], asked["response"], asked["context"]) == ("Hi", "Hello", ["a passage"])


def test_secrets_go_in_headers(server, scorer, texts):
    server.answer = lengths
    scorer(headers={"Authorization": "Bearer abc"}).score_texts(texts("a"))
    assert server.headers[0]["Authorization"] == "Bearer abc"


def test_null_does_not_apply(server, scorer, texts):
    server.answer = lambda body: {"outputs": {"warmth": [None, 1]}}
    np.testing.assert_array_equal(scorer().score_texts(texts("a", "b")).numbers["warmth"], [np.nan, 1])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not JSON",
        b"[]",
        {"outputs": {}},
        {"outputs": {"warmth": [1]}},
        {"outputs": {"warmth": ["hot", 1]}},
        b"\xff",
    ],
)
def test_another_answer_is_a_wrong_one(server, scorer, texts, answer):
    server.answer = lambda body: answer
    with pytest.raises(WrongAnswerError):
        scorer().score_texts(texts("a", "b"))


@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_status_of_failure_fails(server, scorer, texts, status):
    server.answer = lambda body: status
    with pytest.raises(httpx.HTTPStatusError):
        scorer().score_texts(texts("a"))


def test_a_server_that_is_gone_fails(scorer, texts):
    with pytest.raises(httpx.ConnectError):
        scorer(url="http://127.0.0.1:9/").score_texts(texts("a"))


def test_a_server_that_drips_is_left_at_the_time_limit(server, scorer, texts, seconds):
    server.answer = lambda body: None
    with pytest.raises(TimeoutError):
        scorer(time_limit_seconds=0.2).score_texts(texts("a"))
    assert seconds() < 5  # it would drip for ever


def test_after_failures_nobody_is_asked_until_the_pause_is_over(server, scorer, texts):
    server.answer = lambda body: 500
    signal = scorer(failures=2, pause_seconds=30)
    for _ in range(2):
        with pytest.raises(httpx.HTTPStatusError):
            signal.score_texts(texts("a"))
    scorer.now = 29
    with pytest.raises(ScorerPausedError):
        signal.score_texts(texts("a"))
    assert len(server.asked) == 2
    scorer.now, server.answer = 31, lengths
    assert signal.score_texts(texts("a")).numbers["warmth"].tolist() == [1]
    assert signal.score_texts(texts("a")).numbers["warmth"].tolist() == [1]


def test_a_failed_trial_is_another_pause(server, scorer, texts):
    server.answer = lambda body: 500
    signal = scorer(failures=1, pause_seconds=30)
    for now, error in ((0, httpx.HTTPStatusError), (31, httpx.HTTPStatusError), (60, ScorerPausedError)):
        scorer.now = now
        with pytest.raises(error):
            signal.score_texts(texts("a"))


def test_guarded_it_is_absent_counted_and_says_nothing_of_what_it_read(server, scorer, texts, caplog):
    server.answer = lambda body: 500
    counted = SIGNAL_FAILURES.labels("tone", "HTTPStatusError")
    before = counted._value.get()
    with caplog.at_level(logging.DEBUG):
        found = guarded("tone", scorer()).score_texts(texts("a secret of mine"))
    assert np.isnan(found.numbers["warmth"]).all()
    assert counted._value.get() == before + 1
    assert "secret" not in caplog.text


def test_what_is_no_text_is_sent_all_the_same(server, scorer, texts):
    server.answer = lengths
    assert scorer().score_texts(texts("half \ud83d of a pair")).numbers["warmth"].tolist() == [16]


def test_threads_may_ask_at_once(server, scorer, texts):
    server.answer = lengths
    signal, found = scorer(), {}

    def ask(n: int) -> None:
        found[n] = signal.score_texts(texts("x" * n)).numbers["warmth"].tolist()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [n] for n in range(1, 17)}
