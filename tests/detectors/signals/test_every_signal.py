"""What every signal keeps to, found by discovery."""

import subprocess
import sys
from functools import cache

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
        Interaction(
            application="shop",
            prompt=prompt,
            response=response,
            latency_ms=12.5,
            usage=usage if row else None,
            context=["Lima is the capital of Peru."] if row % 2 == 0 else [],
            reference="It burns fuel." if row % 2 == 0 else None,
            attributes={"output_type": "json"} if row == 1 else {},
        )
        for row, (prompt, response) in enumerate(PAIRS)
    ]
    columns = (*zip(*PAIRS, strict=True), [one.reference or "" for one in interactions])
    return Exchanges(interactions, *(Texts(column, encoder.encode(column)) for column in columns))


def texts_of(texts: Texts, rows: slice) -> Texts:
    return Texts(texts.texts[rows], texts.encoding[rows])


def part(exchanges: Exchanges, rows: slice) -> Exchanges:
    sides = (exchanges.prompts, exchanges.responses, exchanges.references)
    return Exchanges(exchanges.interactions[rows], *(texts_of(side, rows) for side in sides))


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


def assert_of_their_kind(signal, readings: Readings) -> None:
    for output in signal.outputs:
        values = readings.numbers[output.name]
        assert not np.isinf(values).any()
        values = values[~np.isnan(values)]
        if output.kind == "binary":
            assert set(values) <= {0.0, 1.0}
        if output.kind == "probability":
            assert ((values >= 0) & (values <= 1)).all()


@each_signal
def test_its_values_are_of_their_kind(signal, exchanges):
    assert_of_their_kind(signal, read(signal, exchanges))


@pytest.fixture(scope="module")
def encoded(encoder):
    """Awkward texts, on every side of an interaction; each is encoded once for all signals."""

    @cache
    def one(text: str) -> Exchanges:
        texts = Texts([text], encoder.encode([text]))
        plain = Interaction(application="shop", prompt="", response="", attributes={"output_type": "json"})
        # The contract refuses what is no UTF-8; a signal meets it all the same, after a faulty decoding.
        said = {"prompt": text, "response": text, "context": [text], "reference": text}
        return Exchanges([plain.model_copy(update=said)], texts, texts, texts)

    return one


@each_signal
def test_it_reads_whatever_a_text_holds(signal, encoded, awkward):
    readings = read(signal, encoded(awkward))
    assert_of_their_kind(signal, readings)
    assert all(isinstance(word, str) for labels in readings.labels.values() for word in labels)


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
        "identity_attack", "gibberish", "reading_ease", "reading_grade", "personal_data", "personal_data_count",
    }  # fmt: skip
    whole = {
        "language_mismatch", "latency_ms", "time_to_first_token_ms", "cost", "input_tokens", "output_tokens",
        "tokens_per_second", "error", "refusal", "relevance", "cut_off", "json_invalid", "format_invalid",
        "unsupported", "exact_match", "token_f1", "rouge_l", "reference_similarity",
    }  # fmt: skip
    sides = {f"{side}.{name}" for side in ("prompt", "response") for name in per_text}
    assert whole | sides <= set(signal_outputs())
    assert per_text <= set(text_outputs())
    labels = {
        f"{side}.{name}" for side in ("prompt", "response") for name in ("language", "groups", "personal_data_kinds")
    }
    assert set(signal_labels()) == labels


def test_a_text_s_signal_may_be_watched_on_one_side_alone():
    outputs = signal_outputs()
    assert outputs["response.repetition"].watched is True
    assert outputs["prompt.repetition"].watched is False


def test_what_is_watched_is_less_than_what_is_read():
    watched = {name for name, output in signal_outputs().items() if output.watched}
    assert {"refusal", "cut_off", "response.toxicity", "error", "latency_ms"} <= watched
    assert {"prompt.reading_ease", "prompt.personal_data_count", "exact_match", "rouge_l"}.isdisjoint(watched)


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
        np.zeros((1, 384), np.float32),
        np.zeros((1, 3, 384), np.float32),
        np.zeros(1, np.int32),
        np.zeros(1, np.int32),
        np.zeros((1, 3, 384), np.float32),
        np.ones(1, np.int32),
    )
    texts = Texts([""], nothing)
    exchanges = Exchanges([Interaction(application="shop", prompt="", response="")], texts, texts, texts)
    for signal in (*SIGNALS.texts, *SIGNALS.interactions):
        read(signal, exchanges)
