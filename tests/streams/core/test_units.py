"""What counts once: sessions, repeats, and which units a vector stream looks at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from streams.core.units import REPEATS_WITHIN, SESSIONS, Repeats, Sessions, is_judged, to_unit, uniform
from tocsin.contracts import Model, PromptTemplate

Pack = Callable[[NDArray[np.floating]], str]


def vector(*first: float) -> NDArray[np.float32]:
    """A unit vector of 16 dimensions that begins with these numbers."""
    found = np.zeros(16, np.float32)
    found[: len(first)] = first
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-9), np.float32)


def test_a_unit_has_the_very_bits_of_its_message(traffic: Any) -> None:
    (message,) = traffic(1)
    unit = to_unit(message)
    assert unit.vectors["prompt"].shape == (16,) and unit.vectors["prompt"].dtype == np.float32
    assert abs(float(np.linalg.norm(unit.vectors["prompt"])) - 1) < 0.01
    assert unit.signals == message.signals


def test_a_unit_is_timed_as_the_table_keeps_it_so_that_it_is_the_same_after_a_restart(traffic: Any) -> None:
    (message,) = traffic(1)
    fine = message.model_copy(update={"occurred_at": message.occurred_at + timedelta(microseconds=123_999)})
    assert to_unit(fine).occurred_at == (message.occurred_at + timedelta(milliseconds=123)).timestamp()


def test_the_fields_that_a_change_may_be_due_to_are_named_apart(traffic: Any) -> None:
    (message,) = traffic(
        1,
        model=Model(name="m", version="2"),
        prompt_template=PromptTemplate(name="greet", version="7"),
        attributes={"model": "an attribute of that name"},
        labels={"language": "de"},
    )
    assert to_unit(message).fields == {
        "attribute model": "an attribute of that name",
        "language": "de",
        "model": "m 2",
        "template": "greet 7",
    }


def test_uniforms_are_uniform_and_the_same_in_every_replay() -> None:
    drawn = [uniform(f"i{i}", "prompt") for i in range(4_000)]
    assert drawn == [uniform(f"i{i}", "prompt") for i in range(4_000)]
    assert all(0 <= u < 1 for u in drawn)
    assert stats.kstest(drawn, "uniform").pvalue > 1e-4
    other = [uniform(f"i{i}", "response") for i in range(4_000)]
    assert abs(float(np.corrcoef(drawn, other)[0, 1])) < 0.1


def test_a_session_is_one_unit_and_no_session_is_a_unit_each_time() -> None:
    sessions = Sessions()
    assert [sessions.first(name) for name in ("a", "b", "a", None, "b", None)] == [True, True, False, True, False, True]


def test_sessions_are_bounded_and_the_one_that_was_quiet_longest_is_forgotten() -> None:
    sessions = Sessions()
    for i in range(SESSIONS):
        sessions.first(f"s{i}")
    assert not sessions.first("s0")
    sessions.first("one more")
    assert len(sessions.snapshot()) == SESSIONS
    assert not sessions.first("s0") and sessions.first("s1")


def test_stored_sessions_go_on_in_the_same_order() -> None:
    sessions = Sessions()
    for name in ("a", "b", "c", "a"):
        sessions.first(name)
    restored = Sessions(sessions.snapshot().tolist())
    assert (restored.snapshot() == sessions.snapshot()).all()
    assert not restored.first("b")


def test_equal_and_nearly_equal_texts_repeat_and_others_do_not(traffic: Any, vector_text: Pack) -> None:
    repeats = Repeats()
    near, far = vector(1, 0.15), vector(1, -0.3)  # cosines of .989 and .958 with the first
    told = [
        repeats.seen(to_unit(traffic(1, i, prompt_vector=vector_text(each))[0]), "prompt")
        for i, each in enumerate([vector(1), vector(1), near, vector(0, 1), far, vector(0, 0, 1)])
    ]
    assert told == [False, True, True, False, False, False]


def test_a_repeat_is_forgotten_after_256_units(traffic: Any, vector_text: Pack) -> None:
    random = np.random.default_rng(0)
    one, others = vector(1), [np.r_[0, np.sign(random.normal(size=15))] / 15**0.5 for _ in range(REPEATS_WITHIN)]
    for between, expected in ((REPEATS_WITHIN - 1, True), (REPEATS_WITHIN, False)):
        repeats = Repeats()
        for i, each in enumerate([one, *others[:between]]):
            repeats.seen(to_unit(traffic(1, i, prompt_vector=vector_text(each))[0]), "prompt")
        assert repeats.seen(to_unit(traffic(1, 999, prompt_vector=vector_text(one))[0]), "prompt") is expected


def test_repeats_restored_from_the_last_units_find_the_same(traffic: Any) -> None:
    units = [to_unit(message) for message in traffic(600)]
    lived = Repeats()
    for unit in units:
        lived.seen(unit, "prompt")
    restored = Repeats.after(units[-512:], "prompt", len(units))
    for message in [*traffic(300, 900), *traffic(60, 560)]:
        unit = to_unit(message)
        assert lived.seen(unit, "prompt") is restored.seen(unit, "prompt")


@pytest.mark.parametrize(
    ("stream", "encoder", "words", "again", "judged"),
    [
        ("prompt", "e1", True, 0.0, True),
        ("prompt", "e1", True, 1.0, False),
        ("response", "e1", True, 1.0, True),
        ("prompt", "e2", True, 0.0, False),
        ("response", "e1", False, 0.0, False),
    ],
)
def test_vector_streams_leave_out_repeats_other_encoders_and_texts_without_words(
    traffic: Any, vector_text: Pack, stream: str, encoder: str, words: bool, again: float, judged: bool
) -> None:
    text = vector_text(vector(1) if words else vector(0))
    (message,) = traffic(1, encoder=encoder, prompt_vector=text, response_vector=text)
    unit = to_unit(message).with_signals({"prompt.repeat": again, "response.repeat": again})
    assert is_judged(stream, unit, "e1") is judged
