"""The real loading code of large models, on tiny ones of the same classes with random weights, made here."""

import subprocess
import sys

import numpy as np
import pytest

from detectors.signals import Exchanges, Texts
from detectors.signals.heavy import HeavyUnavailableError
from detectors.signals.heavy.opening import open_heavy
from tocsin.contracts import Interaction

SAID = ["the river is long", "", "a short answer", "the sea " * 400, "half \ud83d of a pair", "the"]
TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}judge"
WORDS = "[PAD] [UNK] [CLS] [SEP] the a river sea is long short answer safe unsafe user assistant judge"


@pytest.fixture(scope="module")
def tokenizer():
    """A word-level tokenizer that knows a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS.split())}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **special)


@pytest.fixture(scope="module")
def bert(tmp_path_factory, tokenizer):
    """A directory with a text classification model of these labels."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    def made(labels, **more):
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        names = dict(enumerate(labels))
        config = BertConfig(
            vocab_size=len(tokenizer), max_position_embeddings=80, initializer_range=1.0, id2label=names,
            label2id={label: place for place, label in names.items()}, **shape, **more,
        )  # fmt: skip
        directory = tmp_path_factory.mktemp("bert")
        BertForSequenceClassification(config).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return str(directory)

    return made


@pytest.fixture(scope="module")
def llama(tmp_path_factory, tokenizer):
    """A directory with a causal language model and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=80, initializer_range=1.0,
    )  # fmt: skip
    directory = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    tokenizer.chat_template = None
    return str(directory)


@pytest.fixture(scope="module")
def texts(encoder):
    return Texts(SAID, encoder.encode(SAID))


@pytest.fixture(scope="module")
def exchanges(encoder):
    def of(*rows):
        interactions = [
            Interaction(application="shop", prompt=prompt, response=response, context=context)
            for prompt, response, context in rows
        ]
        columns = [row[0] for row in rows], [row[1] for row in rows], ["" for _ in rows]
        return Exchanges(interactions, *(Texts(column, encoder.encode(column)) for column in columns))

    return of


def test_a_classifier_gives_the_wanted_labels_that_add_up(bert, texts):
    signal = open_heavy("classifier", "guard", bert(["BENIGN", "INJECTION", "Jail break"]), ["INJECTION", "Jail break"])
    found = signal.score_texts(texts).numbers
    assert list(found) == ["guard_injection", "guard_jail_break"]
    both = found["guard_injection"] + found["guard_jail_break"]
    assert np.isnan(both[1])
    assert ((both > 0) & (both < 1) | np.isnan(both)).all()
    assert len(set(found["guard_injection"].round(6).tolist())) > 3


def test_independent_labels_do_not_add_up(bert, texts):
    model = bert(["toxic", "insult", "threat"], problem_type="multi_label_classification")
    found = open_heavy("classifier", "abuse", model, ["toxic", "insult", "threat"]).score_texts(texts).numbers
    total = sum(found.values())
    assert not np.allclose(total[~np.isnan(total)], 1)


def test_a_classifier_reads_each_text_by_itself(bert, texts, encoder):
    signal = open_heavy("classifier", "abuse", bert(["fine", "toxic"]), ["toxic"])
    whole = signal.score_texts(texts).numbers["abuse_toxic"]
    alone = [signal.score_texts(Texts([text], encoder.encode([text]))).numbers["abuse_toxic"][0] for text in SAID]
    np.testing.assert_allclose(whole, alone, rtol=1e-4, atol=1e-6)


def test_a_label_that_the_model_has_not_is_an_error(bert):
    with pytest.raises(HeavyUnavailableError, match="has no label 'toxic', but fine, rude"):
        open_heavy("classifier", "abuse", bert(["fine", "rude"]), ["toxic"]).load()
    with pytest.raises(HeavyUnavailableError, match="labels is empty"):
        open_heavy("classifier", "abuse", "somewhere")


def test_a_directory_without_a_model_is_an_error(tmp_path):
    for kind, labels in (("classifier", ["toxic"]), ("entailment", []), ("guard", [])):
        with pytest.raises(HeavyUnavailableError, match=r"^here: "):
            open_heavy(kind, "here", str(tmp_path), labels).load()


def test_entailment_is_the_share_of_sentences_without_a_passage(bert, exchanges):
    signal = open_heavy("entailment", "unentailed", bert(["contradiction", "entailment", "neutral"]))
    passages = ["the river is long", "the sea is a sea"]
    found = signal.score_interactions(
        exchanges(
            ("q", "the river is long. a short answer is the sea. the long short sea is.", passages),
            ("q", "the river is long.", []),
            ("q", "", passages),
            ("q", "too short", passages),
        )
    ).numbers["unentailed"]
    assert found[0] * 3 in (0, 1, 2, 3)
    assert np.isnan(found[1:]).all()


def test_entailment_needs_a_model_that_knows_it(bert):
    with pytest.raises(HeavyUnavailableError, match="no one label for entailment among fine, rude"):
        open_heavy("entailment", "unentailed", bert(["fine", "rude"])).load()


def test_a_guard_weighs_its_two_verdicts(llama, exchanges):
    rows = [("the river", "is long", []), ("the river", "", []), ("", "", []), ("a sea " * 200, "short", [])]
    one = open_heavy("guard", "unsafe", llama, ["safe", "unsafe"]).score_interactions(exchanges(*rows))
    other = open_heavy("guard", "unsafe", llama, ["unsafe", "safe"]).score_interactions(exchanges(*rows))
    np.testing.assert_allclose(one.numbers["unsafe"] + other.numbers["unsafe"], [1, 1, np.nan, 1])
    assert one.numbers["unsafe"][0] != one.numbers["unsafe"][1]


def test_a_guard_needs_a_template_and_two_verdicts(bert):
    with pytest.raises(HeavyUnavailableError, match="has no chat template"):
        open_heavy("guard", "unsafe", bert(["a", "b"])).load()
    with pytest.raises(HeavyUnavailableError, match="two verdicts"):
        open_heavy("guard", "unsafe", "somewhere", ["safe"])


def test_presidio_is_asked_for_by_name_where_it_is_missing(encoder):
    signal = open_heavy("presidio", "people", "")
    try:
        signal.load()
    except HeavyUnavailableError as error:
        assert "people: No module named" in str(error)
        return
    found = signal.score_texts(Texts(["Write to anna@posteo.de.", ""], encoder.encode(["a", ""])))
    assert found.numbers["people"].tolist() == [1, 0]
    assert found.labels["people_kinds"][0] == "email_address"


def test_naming_heavy_signals_loads_nothing():
    heavy = {"torch", "transformers", "sentence_transformers", "presidio_analyzer", "spacy"}
    program = (
        "import sys; from detectors.signals.heavy.opening import open_heavy\n"
        "kinds = 'classifier', 'entailment', 'guard', 'presidio'\n"
        "made = [open_heavy(kind, 'x', 'y', ['a', 'b']) for kind in kinds]\n"
        f"print(len(made), {heavy} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "4 set()"
