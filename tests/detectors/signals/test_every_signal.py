"""What every signal keeps to, found by discovery."""

import subprocess
import sys

import numpy as np
import pytest

from detectors.encoder import Encoding
from detectors.signals import Exchanges, Readings, Texts, discover, signal_labels, signal_outputs, text_outputs
from tocsin.contracts import Interaction, Usage

SIGNALS = discover()
PAIRS = [
    ("What is the capital of Peru?", "The capital of Peru is Lima, a city of ten million people."),
    ("Write me something about rivers, please, in a few lines.", "I'm sorry, but I cannot help with that."),
    ("", "An answer to nothing."),
    ("Say it again and again!", "stop it now " * 40),
    ("¿Puedes explicarme cómo funciona un motor de combustión interna?", "It burns fuel in a closed cylinder."),
    ("A question", ""),
]


@pytest.fixture(scope="module")
def exchanges(encoder) -> Exchanges:
    usage = Usage(input_tokens=3, output_tokens=5, cost=0.01)
    interactions = [
        Interaction(application="shop", prompt=prompt, response=response, latency_ms=12.5, usage=usage if row else None)
        for row, (prompt, response) in enumerate(PAIRS)
    ]
    prompts, responses = zip(*PAIRS, strict=True)
    return Exchanges(interactions, Texts(prompts, encoder.encode(prompts)), Texts(responses, encoder.encode(responses)))


def texts_of(texts: Texts, rows: slice) -> Texts:
    return Texts(texts.texts[rows], texts.encoding[rows])


def part(exchanges: Exchanges, rows: slice) -> Exchanges:
    return Exchanges(
        exchanges.interactions[rows], texts_of(exchanges.prompts, rows), texts_of(exchanges.responses, rows)
    )


def read(signal, exchanges: Exchanges) -> Readings:
    if signal in SIGNALS.texts:
        return signal.score_texts(exchanges.responses)
    return signal.score_interactions(exchanges)


each_signal = pytest.mark.parametrize(
    "signal", [*SIGNALS.texts, *SIGNALS.interactions], ids=lambda signal: type(signal).__name__
)


@each_signal
def test_it_answers_with_what_it_declares(signal, exchanges):
    readings = read(signal, exchanges)
    assert list(readings.numbers) == [output.name for output in signal.outputs]
    assert list(readings.labels) == list(signal.labels)
    for column in readings.numbers.values():
        assert (column.shape, column.dtype) == ((len(PAIRS),), np.float64)
        assert not np.isinf(column).any()
    for labels in readings.labels.values():
        assert len(labels) == len(PAIRS)


@each_signal
def test_its_values_are_of_their_kind(signal, exchanges):
    readings = read(signal, exchanges)
    for output in signal.outputs:
        values = readings.numbers[output.name]
        values = values[~np.isnan(values)]
        if output.kind == "binary":
            assert set(values) <= {0.0, 1.0}
        if output.kind == "probability":
            assert ((values >= 0) & (values <= 1)).all()


@each_signal
def test_a_split_batch_reads_the_same(signal, exchanges):
    whole = read(signal, exchanges)
    parts = [read(signal, part(exchanges, slice(at, at + 2))) for at in range(0, len(PAIRS), 2)]
    for name, column in whole.numbers.items():
        np.testing.assert_allclose(np.concatenate([one.numbers[name] for one in parts]), column, rtol=1e-4, atol=1e-6)
    for name, labels in whole.labels.items():
        assert [label for one in parts for label in one.labels[name]] == list(labels)


@each_signal
def test_it_reads_an_empty_batch(signal, exchanges):
    readings = read(signal, part(exchanges, slice(0, 0)))
    assert all(len(column) == 0 for column in (*readings.numbers.values(), *readings.labels.values()))


@each_signal
def test_its_outputs_are_described(signal):
    assert all(output.description for output in signal.outputs)
    assert signal.outputs or signal.labels


def test_names_are_unique():
    texts = [name for signal in SIGNALS.texts for name in (*(o.name for o in signal.outputs), *signal.labels)]
    whole = [name for signal in SIGNALS.interactions for name in (*(o.name for o in signal.outputs), *signal.labels)]
    assert len({*texts, *whole}) == len([*texts, *whole])


def test_the_names_are_these():
    per_text = {
        "length_characters", "length_tokens", "truncated_tokens", "empty", "unreadable", "repetition", "toxicity",
        "identity_attack",
    }  # fmt: skip
    whole = {
        "language_mismatch", "latency_ms", "time_to_first_token_ms", "cost", "input_tokens", "output_tokens", "error",
        "refusal", "relevance",
    }  # fmt: skip
    assert set(text_outputs()) == per_text
    assert set(signal_outputs()) == whole | {f"{side}.{name}" for side in ("prompt", "response") for name in per_text}
    assert set(signal_labels()) == {"prompt.language", "response.language"}


def test_outputs_carry_their_full_name():
    assert all(name == output.name for name, output in signal_outputs().items())


def test_naming_the_signals_loads_nothing_heavy():
    heavy = {"torch", "onnxruntime", "tokenizers", "transformers", "sklearn"}
    program = (
        f"import sys; from detectors.signals import signal_outputs; signal_outputs(); print({heavy} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_an_encoding_of_zeros_makes_no_signal_fail():
    nothing = Encoding(
        np.zeros((1, 384), np.float32), np.zeros((1, 3, 384), np.float32), np.zeros(1, np.int32), np.zeros(1, np.int32)
    )
    texts = Texts([""], nothing)
    exchanges = Exchanges([Interaction(application="shop", prompt="", response="")], texts, texts)
    for signal in (*SIGNALS.texts, *SIGNALS.interactions):
        read(signal, exchanges)
