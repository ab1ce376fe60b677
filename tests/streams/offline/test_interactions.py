"""What a record says: published or stored, as a message, a row or a text; what is wrong with it, without its words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.encoder.bfloat16 import round_bfloat16
from streams.core.decoding import Accepted, DeadLetter
from streams.core.units import to_unit
from streams.offline.interactions import bounds_of_history, interaction_of, parsed
from streams.offline.records import Record
from streams.settings import Limits
from tests.streams.offline.conftest import interactions
from tocsin.contracts import Interaction
from tocsin.messages import Scored

BOUNDS = bounds_of_history(Limits())
(STORED,) = interactions(1)


def read(plain: Any) -> Scored | Interaction | DeadLetter:
    line = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    fields = parsed(Record(1, line), BOUNDS)
    said = fields if isinstance(fields, DeadLetter) else interaction_of(fields, 7, BOUNDS)
    return said.value if isinstance(said, Accepted) else said


def test_an_interaction_without_id_and_time_gets_them_from_its_place() -> None:
    """And not from the clock or by chance: a replay of the same file must give the same pages."""
    said = read({"prompt": "a", "response": "b"})
    assert isinstance(said, Interaction)
    assert said == read({"prompt": "a", "response": "b"})
    assert (said.interaction_id, said.application) == ("7", "file")


def test_a_text_is_a_prompt() -> None:
    said = read({"text": "hello", "label": 3})
    assert isinstance(said, Interaction)
    assert (said.prompt_text, said.response) == ("hello", "")


def test_history_may_be_as_old_as_it_is() -> None:
    said = read({"prompt": "a", "response": "b", "occurred_at": "1999-01-01T00:00:00Z"})
    assert isinstance(said, Interaction)
    assert said.occurred_at.year == 1999


def test_what_is_stored_is_scored_and_its_texts_are_not_looked_at() -> None:
    said = read(STORED | {"prompt": "hello", "response": "you", "latency_ms": 3})
    assert said == read(STORED)
    assert isinstance(said, Scored)
    assert said.signals == STORED["signals"]


def test_vectors_as_numbers_are_those_as_text() -> None:
    vector = to_unit(stored()).vectors["prompt"]
    numbers = {"prompt_vector": vector.tolist(), "response_vector": [round(float(x), 8) for x in vector]}
    unit = to_unit(stored(**numbers))
    np.testing.assert_array_equal(unit.vectors["prompt"], vector)
    np.testing.assert_array_equal(unit.vectors["response"], round_bfloat16(vector))


def stored(**fields: Any) -> Scored:
    said = read(STORED | fields)
    assert isinstance(said, Scored), said
    return said


def test_a_row_of_the_table_says_what_its_message_says() -> None:
    row = {name: value for name, value in STORED.items() if name != "model"} | {
        **{"model_provider": "", "model_name": "m", "model_version": "1", "template_name": "", "template_version": ""},
        **{"occurred_at": "2026-01-01 00:00:00.000", "session_id": "", "subject_id": "", "stored_at": "2026-01-02"},
        **{"error": "", "flags": ["toxicity"], "heads": "h", "source_partition": 1, "source_offset": 9},
        **{"prompt": "", "response": "", "retention_days": 90, "environment": "production", "attributes": {}},
    }
    assert read(row) == stored(flags=["toxicity"])


def test_a_row_without_scores_is_scored_anew() -> None:
    row = {"interaction_id": "x", "prompt": "a", "response": "", "model_name": "m", "session_id": "", "heads": "h"}
    said = read(row)
    assert isinstance(said, Interaction)
    assert said.model is not None
    assert (said.model.name, said.session_id, said.response) == ("m", None, "")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"secret", "not JSON"),
        (b'"secret"', "a JSON str"),
        (b"\xff\xfe", "not JSON"),
        ({}, "prompt: Field required"),
        ({"prompt": "secret"}, "response: Field required"),
        ({"prompt": "a", "response": "b", "colour": "secret"}, "colour: Extra inputs"),
        ({"prompt": "a", "response": "b", "occurred_at": "2026-01-01"}, "occurred_at: "),
        ({"prompt": "a", "response": "b", "model_name": "m", "occurred_at": "secret"}, "occurred_at: "),
        ({name: value for name, value in STORED.items() if name != "encoder"}, "encoder: missing beside prompt_vector"),
        ({"prompt": "a", "response": "b", "signals": {}}, "prompt_vector: missing beside signals"),
        (STORED | {"prompt_vector": "secret"}, "prompt_vector: is neither finite numbers nor bfloat16"),
        (STORED | {"prompt_vector": "AAAA"}, "prompt_vector: is neither"),  # three bytes
        (STORED | {"prompt_vector": []}, "prompt_vector: is neither"),
        (STORED | {"prompt_vector": [[1.0]]}, "prompt_vector: is neither"),
        (STORED | {"prompt_vector": [1.0, None]}, "prompt_vector: is neither"),
        (STORED | {"prompt_vector": ["secret"]}, "prompt_vector: is neither"),
        (STORED | {"response_vector": None}, "response_vector: is neither"),
        (STORED | {"prompt_vector": "wH8="}, "prompt_vector: is neither"),  # NaN
        (STORED | {"prompt_vector": [1.0], "response_vector": [1.0, 0.0]}, "response_vector: is of another length"),
        (STORED | {"prompt_vector": [1.0] * 2, "response_vector": [1.0] * 3}, "response_vector: is of another length"),
        (STORED | {"signals": {"a": "secret"}}, "signals.a: "),
        (STORED | {"sesion_id": "secret"}, "sesion_id: unknown field"),
        (STORED | {"my secret plan": 1}, "?: unknown field"),
        (STORED | {"text": "x" * 2_000_000}, "bytes, the limit is"),
    ],
)
def test_what_cannot_be_read_says_why_and_holds_nothing_of_it(line: Any, why: str) -> None:
    said = read(line)
    assert isinstance(said, DeadLetter)
    assert why in said.detail
    assert "secret" not in said.detail


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([*STORED, "model_name", "template_version", "text", "prompt", "response", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=4,
        ),
    )
)
def test_nothing_in_a_line_makes_the_reader_fail(changed: dict[str, Any]) -> None:
    for plain in (changed, STORED | changed):
        assert isinstance(read(plain), Scored | Interaction | DeadLetter)
