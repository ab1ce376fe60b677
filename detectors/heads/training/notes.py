"""What the cards say in words: where the data comes from, how rows were split, what the heads cannot do."""

from __future__ import annotations

from typing import Any

from detectors.heads.training.sources import LICENCES

__all__ = ["NOTES"]


def _licences(*sources: str) -> dict[str, str]:
    return {source: LICENCES[source] for source in sources}


NOTES: dict[str, dict[str, Any]] = {
    "toxicity": {
        "title": "Toxicity, attacks on groups, categories",
        "data": _licences(
            *("davidson", "surge", "toxigen", "toxic_spans", "madlibs", "wikipedia", "moderation"),
            *("prompts", "responses", "s_labs", "own"),
        ),
        "split": "Four folds by hash of the text, of assistant traffic by hash of the prompt, of our own sentences by "
        "hash of the frame. Texts made of others are never measured. Mentions and functions: sentences written or put "
        "together for measuring, never trained on, another construction than the training sentences; some of the "
        "harmless ones are sentences of GSM8K, HaluEval and PandaLM with a group's name put in for a noun.",
        "limits": [
            "Figures of training sources say little about other text: look at the mentions and the functions.",
            "Irony, reclaimed slurs and quoted hatred are often mistaken; implied hatred is often missed.",
            "Harmless texts that people wrote about groups are flagged more often than our sentences: see rated "
            "mentions.",
            "The measuring sentences were written by the authors of the training sentences. Kinds that an earlier head "
            "failed, such as hatred condemned without quoting it, were then trained on in other words.",
            "English only: other languages were not measured.",
            "Parts of the training data carry a known bias against African-American English.",
            "Of a long text the worst chunk counts; n-grams read its first 1,200 characters.",
            "The categories rest on 1,530 texts of one set, self-harm on 51 positives.",
        ],
    },
    "injection": {
        "title": "Prompt injection",
        "data": _licences("s_labs", "prompts", "pandalm", "davidson", "own"),
        "split": "Four folds by hash of the text, of our own sentences by hash of the frame. clinc150 is not trained "
        "on; the kinds of requests that an earlier head flagged there guided what our harmless requests are about.",
        "limits": [
            "Direct injections of known kinds: overriding, extraction, personas. It is no protection against whoever "
            "tries.",
            "Instructions hidden in documents, and disguised ones, are mostly missed: see the functions.",
            "S-Labs holds many near copies, so that its held-out figures flatter.",
            "English only.",
        ],
    },
    "refusal": {
        "title": "Refusal",
        "data": _licences("xstest", "responses"),
        "split": "Held out by model and by prompt at once: a model never seen, on prompts never seen.",
        "limits": [
            "English completions of five model versions to 450 prompts that provoke refusals; nobody labelled others.",
            "Ordinary responses without any expression of refusal were taken for answers.",
            "Partial refusals count as refusals.",
            "A model that seldom refuses is judged worst: see the model with the lowest share of refusals.",
        ],
    },
}
