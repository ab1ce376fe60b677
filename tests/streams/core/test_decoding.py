"""Whatever arrives is accepted or a dead letter with its reason, and no reason holds content."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.decoding import Accepted, Bounds, DeadLetter, Origin, decode, decode_feedback, decode_interaction
from tocsin.contracts import Feedback, Interaction, Model, PromptTemplate
from tocsin.messages import COMMAND, SIGNALS_MESSAGE, Joined
from tocsin.transports import encoded

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOUNDS = Bounds(message_bytes=100_000, text_characters=1_000, future=timedelta(minutes=10), age=timedelta(days=90))
MARK = "Zanzibar"  # stands for what people wrote
PLAIN: dict[str, Any] = {
    "interaction_id": "i1",
    "occurred_at": "2026-01-01T00:00:00Z",
    "application": "shop",
    "prompt": f"{MARK}?",
    "response": f"{MARK}!",
}
RATING: dict[str, Any] = {
    "interaction_id": "i1",
    "application": "shop",
    "kind": "rating",
    "value": 4,
    "given_at": "2026-01-01T00:00:00Z",
}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.just(MARK)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner)
)


def answers(raw: bytes | None) -> list[Accepted[Any] | DeadLetter]:
    """What every decoder says."""
    return [
        decode_interaction(raw, NOW, BOUNDS),
        decode_feedback(raw, NOW, BOUNDS),
        decode(raw, SIGNALS_MESSAGE, BOUNDS),
        decode(raw, COMMAND, BOUNDS),
    ]


def interaction(**changed: Any) -> Accepted[Interaction] | DeadLetter:
    return decode_interaction(json.dumps(PLAIN | changed).encode(), NOW, BOUNDS)


def reason(answer: Accepted[Any] | DeadLetter) -> str:
    return answer.reason if isinstance(answer, DeadLetter) else "accepted"


@settings(max_examples=50, deadline=None)
@given(raw=st.binary(max_size=300))
def test_any_bytes_have_an_answer(raw: bytes) -> None:
    assert all(isinstance(each, Accepted | DeadLetter) for each in answers(raw))


@settings(max_examples=50, deadline=None)
@given(value=anything)
def test_any_json_has_an_answer(value: Any) -> None:
    assert all(isinstance(each, Accepted | DeadLetter) for each in answers(json.dumps(value).encode()))


@settings(max_examples=80, deadline=None)
@given(field=st.sampled_from(sorted({*Interaction.model_fields, *Feedback.model_fields, "kind"})), value=anything)
def test_any_value_in_any_field_has_an_answer_that_holds_no_content(field: str, value: Any) -> None:
    raw = json.dumps(PLAIN | {"prompt": MARK, "response": MARK} | {field: value}).encode()
    for each in [*answers(raw), *answers(json.dumps(RATING | {field: value}).encode())]:
        assert isinstance(each, Accepted) or MARK not in each.detail


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"not json", "not_json"),
        (b'{"prompt": "' + MARK.encode(), "not_json"),
        (b"\xff\xfe\x00binary\x80", "not_json"),
        (b'{"prompt": "\\ud83d"}', "not_json"),  # half of a pair
        (b'{"prompt": NaN}', "not_json"),
        (b"[" * 5_000, "not_json"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "not_json"),
        (b"[]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b" " * 100_001, "too_large"),
        (b'{"prompt": "' + b"x" * 5_000_000 + b'"}', "too_large"),
        (b"{}", "schema"),
    ],
)
def test_what_is_no_message_is_a_dead_letter_with_its_reason(raw: bytes | None, expected: str) -> None:
    assert {reason(each) for each in answers(raw)} == {expected}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "accepted"),
        ({"schema_version": 1}, "accepted"),
        ({"schema_version": 2}, "unknown_version"),
        ({"schema_version": 0}, "unknown_version"),
        ({"schema_version": MARK}, "unknown_version"),
        ({"schema_version": [MARK]}, "unknown_version"),
        ({"schema_version": None}, "unknown_version"),
        ({"occurred_at": "9999-12-31T23:59:59Z"}, "future"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "schema"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "schema"),
        ({"occurred_at": "10000-01-01T00:00:00Z"}, "schema"),
        ({"occurred_at": "2026-01-01T00:00:00"}, "schema"),  # no zone
        ({"occurred_at": 1e30}, "schema"),
        ({"occurred_at": "2026-01-01T00:10:00Z"}, "accepted"),
        ({"occurred_at": "2026-01-01T00:10:00.001Z"}, "future"),
        ({"occurred_at": "2025-10-03T00:00:00Z"}, "accepted"),
        ({"occurred_at": "2025-10-02T23:59:59Z"}, "too_old"),
        ({"prompt": "", "response": ""}, "accepted"),
        ({"prompt": []}, "accepted"),
        ({"prompt": None}, "schema"),
        ({"prompt": {"text": MARK}}, "schema"),
        ({"prompt": [{"role": "user", "content": MARK, "name": MARK}]}, "schema"),
        ({"promt": MARK}, "schema"),
        ({"latency_ms": -1}, "schema"),
        ({"latency_ms": MARK}, "schema"),
        ({"attributes": {f"{MARK} in the wrong place": [5]}}, "schema"),
        ({"attributes": {MARK + "x" * 200: "eu"}}, "schema"),
        ({"interaction_id": ""}, "schema"),
        ({"interaction_id": MARK * 50}, "schema"),
        ({"application": " "}, "schema"),
    ],
)
def test_a_field_at_fault_has_an_answer_that_holds_no_content(changed: dict[str, Any], expected: str) -> None:
    answer = interaction(**changed)
    assert reason(answer) == expected
    if isinstance(answer, DeadLetter):
        assert MARK not in answer.detail and len(answer.detail) < 1_000


def test_the_detail_names_the_field() -> None:
    for changed, named in (
        ({"latency_ms": -1}, "latency_ms: Input should be greater than or equal to 0"),
        ({"promt": 1}, "promt: Extra inputs are not permitted"),
        ({"schema_version": 7}, "schema_version: 7"),
        ({"occurred_at": "9999-12-31T23:59:59Z"}, "occurred_at: more than 600 s ahead"),
    ):
        answer = interaction(**changed)
        assert isinstance(answer, DeadLetter) and answer.detail == named


def test_a_model_and_a_template_may_be_given_by_name_alone() -> None:
    answer = interaction(model="gpt", prompt_template="greeting")
    assert not isinstance(answer, DeadLetter)
    assert (answer.value.model, answer.value.prompt_template) == (Model(name="gpt"), PromptTemplate(name="greeting"))


def test_a_rating_is_a_number() -> None:
    assert isinstance(decode_feedback(json.dumps(RATING).encode(), NOW, BOUNDS), Accepted)
    answer = decode_feedback(json.dumps(RATING | {"value": MARK}).encode(), NOW, BOUNDS)
    assert answer == DeadLetter("schema", "value: Value error, a rating must be a number")


def test_a_kind_of_message_that_is_not_known_is_not_repeated_in_the_detail() -> None:
    answer = decode(json.dumps({"kind": MARK}).encode(), COMMAND, BOUNDS)
    assert answer == DeadLetter("schema", ": unknown kind")


def test_long_texts_are_cut_and_flagged_wherever_they_stand() -> None:
    long = "y" * 1_001
    for field, value in (
        ("prompt", long),
        ("response", long),
        ("reference", long),
        ("error", long),
        ("context", ["short", long]),
        ("prompt", [{"role": "user", "content": long}, {"role": "tool", "content": "z"}]),
    ):
        answer = interaction(**{field: value})
        assert isinstance(answer, Accepted) and answer.flags == ("cut",)
        texts = orjson.dumps(orjson.loads(encoded(answer.value))[field]).decode()
        assert texts.count("y") == 1_000
        assert Interaction.model_validate(orjson.loads(encoded(answer.value))) == answer.value


def test_a_text_of_exactly_the_limit_is_left_alone() -> None:
    answer = interaction(prompt="y" * 1_000)
    assert isinstance(answer, Accepted) and answer.flags == () and len(answer.value.prompt_text) == 1_000


@pytest.mark.parametrize(
    ("kind", "value"), [("label", "good"), ("rating", 4), ("rating", 4.5), ("comment", "x" * 5_000)]
)
def test_feedback_of_any_kind_is_read(kind: str, value: float | str) -> None:
    raw = json.dumps(RATING | {"kind": kind, "value": value}).encode()
    assert reason(decode_feedback(raw, NOW, BOUNDS)) == "accepted"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"given_at": "2026-01-01T01:00:00Z"}, "future"),
        ({"given_at": "2020-01-01T00:00:00Z"}, "too_old"),
        ({"kind": MARK}, "schema"),
        ({"value": None}, "schema"),
        ({"value": {"a": MARK}}, "schema"),
    ],
)
def test_feedback_at_fault_has_an_answer(changed: dict[str, Any], expected: str) -> None:
    answer = decode_feedback(json.dumps(RATING | changed).encode(), NOW, BOUNDS)
    assert reason(answer) == expected and isinstance(answer, DeadLetter) and MARK not in answer.detail


def test_what_the_stages_write_they_can_read() -> None:
    message = Joined(application="shop")
    assert decode(encoded(message), SIGNALS_MESSAGE, BOUNDS) == Accepted(message)


def test_what_came_without_an_id_or_a_time_has_the_same_ones_however_often_it_is_read() -> None:
    bare = {name: PLAIN[name] for name in ("application", "prompt", "response")}
    origin = Origin("tocsin.interactions", 2, 1234, NOW)
    first, again = (decode_interaction(json.dumps(bare).encode(), NOW, BOUNDS, origin) for _ in range(2))
    assert isinstance(first, Accepted) and first == again
    assert (first.value.interaction_id, first.value.occurred_at) == ("tocsin.interactions/2/1234/1767225600000", NOW)
    made_anew = Origin("tocsin.interactions", 2, 1234, NOW + timedelta(seconds=1))  # the topic, after it was deleted
    other = decode_interaction(json.dumps(bare).encode(), NOW, BOUNDS, made_anew)
    assert isinstance(other, Accepted) and other.value.interaction_id != first.value.interaction_id

    rating = {name: value for name, value in RATING.items() if name != "given_at"}
    said = decode_feedback(json.dumps(rating).encode(), NOW, BOUNDS, origin)
    assert isinstance(said, Accepted)
    assert (said.value.feedback_id, said.value.given_at) == (first.value.interaction_id, NOW)


def test_an_id_and_a_time_of_its_own_are_kept() -> None:
    origin = Origin("tocsin.interactions", 2, 1234, NOW - timedelta(days=1))
    answer = decode_interaction(json.dumps(PLAIN).encode(), NOW, BOUNDS, origin)
    assert isinstance(answer, Accepted)
    assert (answer.value.interaction_id, answer.value.occurred_at) == ("i1", NOW)
