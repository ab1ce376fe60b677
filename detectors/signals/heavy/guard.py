"""A safety model that answers with a verdict, as Llama Guard does: how sure is it that the exchange is unsafe?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors.signals import Exchanges, Output, Readings
from detectors.signals.heavy import HeavyUnavailableError
from detectors.signals.heavy.loaded import LoadedOnce, readable

__all__ = ["Guard"]

_VERDICTS = ("\n\nsafe", "\n\nunsafe")  # as Llama Guard 2 and later begin their answer
_CHARACTERS = 8_000
_FARTHEST = 700.0  # of two log likelihoods; beyond it the exponential is none


class Guard:
    """Probability of the verdict "unsafe" on prompt and response, from the likelihoods of the two verdicts.

    Nothing is generated: a verdict's likelihood is that of its tokens behind the model's own chat template.
    """

    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def __init__(self, name: str, model: str, verdicts: Sequence[str], threshold: float, watched: bool) -> None:
        if len(verdicts) not in (0, 2):
            raise HeavyUnavailableError(f"{name}: labels must be the two verdicts, safe and unsafe, or be left out")
        self._verdicts = tuple(verdicts) or _VERDICTS
        self._model = LoadedOnce(name, lambda: _load(model))
        description = f"probability that the exchange is unsafe, by {model}"
        self.outputs: tuple[Output, ...] = (
            Output(name, "probability", description, threshold=threshold, higher_is_worse=True, watched=watched),
        )

    def load(self) -> None:
        """Load the model."""
        self._model.get()

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """Probabilities; none where both sides are blank. An exchange without a response is judged by its prompt."""
        unsafe = np.full(len(exchanges), np.nan)
        tokenizer, model = self._model.get()
        for row, (prompt, response) in enumerate(zip(exchanges.prompts.texts, exchanges.responses.texts, strict=True)):
            if prompt.strip() or response.strip():
                with self._model.lock:
                    unsafe[row] = _unsafe(tokenizer, model, prompt, response, self._verdicts)
        return Readings({self.outputs[0].name: unsafe})


def _load(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    if tokenizer.chat_template is None:
        raise ValueError("has no chat template, which says how it is asked")
    model: Any = AutoModelForCausalLM.from_pretrained(name)
    return tokenizer, model.eval()


def _unsafe(tokenizer: Any, model: Any, prompt: str, response: str, verdicts: Sequence[str]) -> float:
    turns = [{"role": "user", "content": readable(prompt, _CHARACTERS)}]
    if response.strip():
        turns.append({"role": "assistant", "content": readable(response, _CHARACTERS)})
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    safe, unsafe = (
        _log_likelihood(model, ids, tokenizer(word, add_special_tokens=False)["input_ids"]) for word in verdicts
    )
    return 1 / (1 + math.exp(min(safe - unsafe, _FARTHEST)))


def _log_likelihood(model: Any, asked: list[int], verdict: list[int]) -> float:
    """Of the verdict's tokens; the end of what is asked is kept where the model cannot read all of it."""
    import torch

    room = int(getattr(model.config, "max_position_embeddings", 0) or 4_096) - len(verdict)
    with torch.inference_mode():
        logits = model(torch.tensor([asked[-room:] + verdict])).logits[0, -len(verdict) - 1 : -1]
    chosen = torch.log_softmax(logits.double(), dim=-1).gather(1, torch.tensor(verdict)[:, None])
    return float(chosen.sum())
