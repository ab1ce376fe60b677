"""A reference is made by the rules that its streams will judge by, and comes back from storage as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.drift import ReferenceRefused, to_arrays
from detectors.drift.rank import RankDetector
from detectors.drift.vectors import VectorDetector
from streams.core.archive import Outdated
from streams.core.budget import LONGEST_GAP
from streams.core.fitting import make_reference
from streams.core.monitor import ApplicationMonitor
from streams.core.reference import Composition, Reference, dump, load
from streams.core.units import Unit, to_unit

RATE = 1e-7
WATCHED: dict[str, Any] = {"length": "both", "toxicity": "up"}
CALM = {"prompt.repeat": 0.0, "response.repeat": 0.0}


@pytest.fixture(scope="module")
def units(traffic: Any) -> list[Unit]:
    return [to_unit(message).with_signals(CALM) for message in traffic(2_100)]


def made(units: list[Unit], watched: dict[str, Any] | None = None) -> Reference:
    return make_reference("shop", units, WATCHED if watched is None else watched, RATE)


@pytest.fixture(scope="module")
def reference(units: list[Unit]) -> Reference:
    return made(units)


def vectors_of(reference: Reference, stream: str) -> VectorDetector:
    found = reference.detectors[stream]
    assert isinstance(found, VectorDetector)
    return found


def test_every_stream_is_fitted_and_named(reference: Reference) -> None:
    assert reference.streams == ("prompt", "response", "response_given_prompt", "length", "toxicity")
    assert reference.refused == {} and reference.given is not None
    toxicity = reference.detectors["toxicity"]
    assert isinstance(toxicity, RankDetector) and toxicity.tails == "up"
    assert len(reference.members) == 2_100 and (reference.first_at, reference.last_at) == (1767225600.0, 1767351540.0)


def test_c_is_the_inverse_of_a_streams_share_of_the_inflow_of_a_unit(reference: Reference) -> None:
    inflow = RATE * 60 * 2_099 / 2_100 / 5
    assert vectors_of(reference, "prompt").units_per_page == pytest.approx(1 / inflow)


def test_c_counts_a_gap_as_the_budget_does(units: list[Unit]) -> None:
    slow = [replace(unit, occurred_at=86_400.0 * i) for i, unit in enumerate(units[:2_000])]
    slow[-1], slow[-2] = slow[-2], slow[-1]  # and a late one brings nothing
    inflow = RATE * LONGEST_GAP * 1_998 / 2_000 / 3
    assert vectors_of(made(slow, {}), "response").units_per_page == pytest.approx(1 / inflow)


def test_units_without_words_and_repeated_prompts_are_in_no_vector_reference(units: list[Unit]) -> None:
    silent = np.zeros(16, np.float32)
    mixed = [
        replace(
            unit.with_signals({"prompt.repeat": float(i < 60)}),
            vectors=dict(unit.vectors) | ({"response": silent} if 60 <= i < 90 else {}),
        )
        for i, unit in enumerate(units)
    ]
    reference = made(mixed, {})
    assert vectors_of(reference, "prompt").reference.units == 2_040
    assert vectors_of(reference, "response").reference.units == 2_070


def test_traffic_with_the_references_share_of_empty_responses_does_not_page(
    traffic: Any, rules: Any, vector_text: Callable[[Any], str]
) -> None:
    empty = vector_text(np.zeros(16))
    messages = traffic(2_600)
    for i in range(0, len(messages), 5):
        messages[i] = messages[i].model_copy(update={"response_vector": empty})
    monitor = ApplicationMonitor("shop", replace(rules, reference_units=2_500))
    monitor.apply(messages, frozenset({"shop"}))
    assert monitor.reference is not None and "response" in monitor.reference.streams
    rest = traffic(600, first=2_600)
    for i in range(0, len(rest), 5):
        rest[i] = rest[i].model_copy(update={"response_vector": empty})
    monitor.apply(rest, frozenset({"shop"}))
    assert not monitor.whole.states["response"].latched
    assert monitor.whole.states["response"].units == 80 + 480  # the empty ones are skipped


def test_a_stream_that_cannot_be_fitted_says_why_and_leaves_the_others(units: list[Unit]) -> None:
    same = [replace(unit, vectors=dict(unit.vectors) | {"response": units[0].vectors["response"]}) for unit in units]
    reference = made(same)
    assert reference.streams == ("prompt", "length", "toxicity")
    assert "128 distinct vectors" in reference.refused["response"]


def test_a_signal_that_too_few_units_carry_is_not_watched(units: list[Unit]) -> None:
    sparse = [
        replace(unit, signals={name: value for name, value in unit.signals.items() if name != "toxicity" or i >= 101})
        for i, unit in enumerate(units)
    ]
    assert "toxicity" not in made(sparse).streams
    assert "length" in made(sparse).streams


def test_nothing_to_fit_is_refused(units: list[Unit]) -> None:
    with pytest.raises(ReferenceRefused, match="prompt: a reference needs 2000 vectors"):
        made(units[:500])


def test_its_id_follows_from_the_application_and_the_last_member(units: list[Unit], reference: Reference) -> None:
    assert made(units).reference_id == reference.reference_id
    assert made(units[:2_000]).reference_id != reference.reference_id


def test_a_stored_reference_comes_back_bit_for_bit(reference: Reference) -> None:
    found = load(dump(reference))
    plain: dict[str, Any] = {"detectors": {}, "samples": {}, "given": None, "answers": None}
    assert replace(found, **plain) == replace(reference, **plain)
    for part in ("given", "answers"):
        stored, original = to_arrays(getattr(found, part), part), to_arrays(getattr(reference, part), part)
        assert {key: value.tobytes() for key, value in stored.items()} == {k: v.tobytes() for k, v in original.items()}
    assert found.streams == reference.streams
    for name, detector in reference.detectors.items():
        same = found.detectors[name]
        assert replace(same, reference=None) == replace(detector, reference=None)  # type: ignore[arg-type]
        stored, original = to_arrays(same.reference, "r"), to_arrays(detector.reference, "r")
        assert {key: value.tobytes() for key, value in stored.items()} == {k: v.tobytes() for k, v in original.items()}
    assert all((found.samples[name] == sample).all() for name, sample in reference.samples.items())


def test_a_reference_of_another_version_of_the_program_is_refused(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dump(reference)
    monkeypatch.setattr("streams.core.reference.VERSION", 9)
    with pytest.raises(Outdated, match="this program reads 9"):
        load(data)


def test_a_composition_holds_shares_of_the_most_frequent_values(units: list[Unit]) -> None:
    mixed = [replace(unit, fields={"model": f"m {i % 4}", "user": str(i)}) for i, unit in enumerate(units[:400])]
    found = Composition.of(mixed).shares
    assert found["model"] == {"m 0": 0.25, "m 1": 0.25, "m 2": 0.25, "m 3": 0.25}
    assert len(found["user"]) == 50
