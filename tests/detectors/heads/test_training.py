"""Training: what goes in, and that the same goes out."""

import sqlite3

import numpy as np
import pytest

from detectors.heads.training.blended import Plan, cross_fit
from detectors.heads.training.derived import carrying, disturbed, exchanged, named_group
from detectors.heads.training.encoded import encode
from detectors.heads.training.injection import injection_rows
from detectors.heads.training.sentences import (
    function_sentences,
    group_forms,
    held_out_sentences,
    injection_texts,
    training_sentences,
)
from detectors.heads.training.sources import public_rows, row

PLAN = Plan(outputs=("toxicity", "identity_attack"), weights=(1.0, 0.7), spelled=2)


@pytest.fixture(scope="module")
def few(encoder, tmp_path_factory):
    """Some rows of our own with their states."""
    rows = [
        row("own", one.text, {"toxicity": one.toxic, "identity_attack": one.attack}, 1, key=one.frame)
        for one in training_sentences()[::90]
    ]
    inner = encode([one.text for one in rows], encoder, tmp_path_factory.mktemp("kept"), lambda count: None)
    return rows, inner


def test_retraining_gives_the_same_bits(few):
    rows, inner = few
    one, other = (cross_fit(rows, inner, PLAN, lambda: None, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.held_out, other.held_out)
    for name, array in one.head.arrays().items():
        np.testing.assert_array_equal(array, other.head.arrays()[name], err_msg=name)


def test_what_is_kept_is_not_encoded_again(encoder, tmp_path):
    texts = ["one text", "another text", "one text"]
    first = encode(texts, encoder, tmp_path, lambda count: None)
    with sqlite3.connect(tmp_path / f"{encoder.fingerprint}.sqlite") as store:
        assert store.execute("SELECT count(*) FROM states").fetchone() == (2,)

    class Closed:
        fingerprint = encoder.fingerprint

    done: list[int] = []
    again = encode(texts, Closed(), tmp_path, done.append)
    np.testing.assert_array_equal(again, first)
    assert sum(done) == len(texts)


def test_training_never_sees_the_measuring_sentences():
    trained = training_sentences()
    measuring = held_out_sentences() + function_sentences()
    assert not {one.text.lower() for one in trained} & {one.text.lower() for one in measuring}
    assert not {one.frame for one in trained} & {one.frame for one in measuring}


def test_training_never_sees_the_measuring_injections(data):
    assert not {one.text.lower() for one in injection_rows(data)} & {text.lower() for _, _, text in injection_texts()}


def test_every_group_has_both_kinds_of_sentence():
    trained = training_sentences()
    for group in group_forms():
        attacks = [one.attack for one in trained if one.group == group]
        assert 0.1 < np.mean(attacks) < 0.5, group


def test_every_group_has_forty_harmless_measuring_sentences():
    sentences = held_out_sentences()
    for group in group_forms():
        assert sum(one.group == group and not one.attack for one in sentences) >= 40, group


def test_sentences_are_the_same_every_time():
    assert training_sentences() == training_sentences()
    assert held_out_sentences() == held_out_sentences()


def test_no_slot_stays_open():
    for one in (*training_sentences(), *held_out_sentences(), *function_sentences()):
        assert not set("{}<>|") & set(one.text), one.frame


def test_a_group_is_put_into_an_ordinary_sentence():
    records = [{"text": "We hope that many people will visit the library this week.", "key": "k"}]
    [(text, key, group)] = carrying(records, 1, seed=0)
    assert (named_group(text), key) == (group, "k")


def test_groups_are_exchanged_and_labels_stay():
    rows = [row("x", "My neighbours are Muslims and bake bread.", {"toxicity": 0}, 1, "fold")]
    [other] = exchanged(rows)
    assert named_group(other.text) not in ("", "muslim")
    assert (other.labels, other.key, other.measured) == ({"toxicity": 0}, "fold", False)


def test_disturbed_rows_keep_their_labels_and_folds():
    rows = [row("x", "Everybody deserves a friendly neighbourhood library.", {"toxicity": 0}, 1)]
    [other] = disturbed(rows)
    assert other.text != rows[0].text
    assert (other.labels, other.key, other.measured) == (rows[0].labels, rows[0].key, False)


def test_every_row_of_the_public_sets_has_labels_that_are_known(data):
    rows = public_rows(data)
    assert {one.source for one in rows} > {"davidson", "surge", "toxigen", "moderation", "prompts", "responses"}
    assert all(value in (0, 1) for one in rows for value in one.labels.values())
    assert all(one.labels and one.text.strip() for one in rows)
