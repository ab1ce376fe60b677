"""Who changed, users or the model? The verdicts on real changes of both kinds, as docs/attribution.md shows them.

    python -m benchmarks.attribution [--runs N] [--json]

Same questions that several models answered, so that it is known who changed. *Asked again*: reference and stream draw
their prompts with replacement from one set; users change by asking more of one half of its topics. *Asked anew*: all
sets together, and no prompt occurs twice, so that a topic that the reference does not have is truly new; code, or the
prompts of oasst, take up a share of the stream. Each run draws its models, prompts and order. All streams of an
application share a budget of one page in 100,000 units. A change is judged at the first page of any stream, and again
200 units later, over all units since the estimated beginning.

Data: arena-hard (Apache-2.0), GSM8K with its model solutions (MIT), XSTest (CC-BY-4.0), sampling reports of
OpenAssistant (Apache-2.0), as JSON Lines under the directory that `TOCSIN_DATA` names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detectors.drift import Float32Array, FloatArray, IntArray
from detectors.encoder import open_encoder
from detectors.encoder.bfloat16 import from_bfloat16, to_bfloat16
from streams.core.attribution import attribute
from streams.core.budget import Budget
from streams.core.columns import Columns
from streams.core.explain import LEAST_WINDOW
from streams.core.fitting import make_reference
from streams.core.group import Group
from streams.core.reference import Reference
from streams.core.rules import Rules
from streams.core.units import Unit

DATA = Path(os.environ.get("TOCSIN_DATA", Path(__file__).parents[2] / "shared" / "data")) / "interactions"
CACHE = Path.home() / ".cache" / "tocsin"
MODELS = {
    "arena_hard": ("gpt-4-0314", "gpt-4-0613", "gpt-3.5-turbo-0125"),
    "gsm8k": ("175b_verification", "6b_verification", "175b_finetuning"),
    "oasst_model_eval": ("gpt-4", "gpt-3.5-turbo", "vicuna"),
    "xstest": ("gpt4", "llama2new", "mistralinstruct"),
}
AGAIN = ("arena_hard", "gsm8k", "xstest")
CODE = re.compile(
    r"```|\b(python|javascript|typescript|c\+\+|java|sql|html|css|php|rust|bash|regex|api|function)\b", re.I
)
UNITS, NEW_UNITS, ORDINARY_LEFT = 2_500, 2_000, 64
PER_PAGE, SECONDS, BATCH, LATER = 100_000, 60.0, 8, 200
LENGTHS = ("prompt.length_characters", "response.length_characters")
RULES = Rules(NEW_UNITS, dict.fromkeys(LENGTHS, "both"), Budget(30 * 86_400 / SECONDS / PER_PAGE))
PHASES = ("at the first page", f"{LATER} units later")
progress = Console(stderr=True)


@dataclass(frozen=True)
class Questions:
    """n questions and their answers by each of some models.

    Attributes:
        group: (n,) of each question: 1 is what users come to ask more of.
        prompts: (n, d).
        answers: (models, n, d).
        lengths: (1 + models, n) characters of prompts and of answers.
    """

    group: IntArray
    prompts: Float32Array
    answers: Float32Array
    lengths: FloatArray

    def units(self, rows: IntArray, models: IntArray) -> list[Unit]:
        """These questions in this order, each answered by one of the models."""
        calm = {"prompt.repeat": 0.0, "response.repeat": 0.0}
        return [
            Unit(
                interaction_id=f"{place}-{row}-{model}",
                occurred_at=SECONDS * place,
                encoder="",
                vectors={"prompt": self.prompts[row], "response": self.answers[model, row]},
                signals=dict(zip(LENGTHS, self.lengths[[0, 1 + model], row].tolist(), strict=True)) | calm,
                fields={},
            )
            for place, (row, model) in enumerate(zip(rows.tolist(), models.tolist(), strict=True))
        ]


@dataclass(frozen=True)
class Change:
    """What changes: the share of group 1 before and after, and the share of the second model after."""

    before: float
    after: float
    swapped: float

    @property
    def truth(self) -> str:
        """Who changed."""
        return {(True, False): "users", (False, True): "model", (True, True): "both"}[
            self.before != self.after, self.swapped > 0
        ]


def questions(name: str, cache: Path) -> tuple[list[str], Questions]:
    """A set of questions that all its models answered; encoded at the first call."""
    texts: dict[str, dict[str, str]] = {}
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            texts.setdefault(row["prompt"], {}).setdefault(row["model"], row["response"])
    asked = [prompt for prompt, answers in texts.items() if answers.keys() >= set(MODELS[name])]
    columns = [asked, *([texts[prompt][model] for prompt in asked] for model in MODELS[name])]
    encoder = open_encoder("onnx", cache=cache, threads=os.cpu_count() or 1)
    kept = cache / "benchmarks" / f"attribution-{name}-{encoder.fingerprint}.npy"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        vectors = [encoder.encode(column).vectors for column in track(columns, f"encoding {name}", console=progress)]
        np.save(kept, to_bfloat16(np.stack(vectors)))
    prompts, *answers = from_bfloat16(np.load(kept))
    lengths = np.array([[len(text) for text in column] for column in columns], np.float64)
    return asked, Questions(_halves(prompts), prompts, np.stack(answers), lengths)


def _halves(prompts: Float32Array) -> IntArray:
    """(n,) two groups of topics; 1 is the smaller one."""
    from sklearn.cluster import KMeans

    found = KMeans(2, n_init=4, random_state=0).fit(prompts).labels_
    return np.asarray(found == (found.mean() < 0.5), np.int64)


def together(sets: dict[str, tuple[list[str], Questions]], new: str) -> Questions:
    """All sets as one; group 1 is code of arena-hard, or one set."""
    groups = []
    for name, (asked, _) in sets.items():
        code = [new == "code" and name == "arena_hard" and CODE.search(prompt) is not None for prompt in asked]
        groups.append(np.array(code, np.int64) if new == "code" else np.full(len(asked), name == new, np.int64))
    each = [found for _, found in sets.values()]
    return Questions(
        np.concatenate(groups),
        np.concatenate([one.prompts for one in each]),
        np.concatenate([one.answers for one in each], axis=1),
        np.concatenate([one.lengths for one in each], axis=1),
    )


def verdicts(reference: Reference, units: Sequence[Unit], since: int) -> list[str]:
    """At the first page and `LATER` units after it; none if no stream pages. The change begins at unit `since`."""
    group, meter, first = Group("", "", RULES), 0.0, 0
    group.promote(reference, meter)
    found: list[str] = []
    for start in range(0, len(units), BATCH):
        batch = units[start : start + BATCH]
        meters = meter + np.arange(1, len(batch) + 1) / PER_PAGE
        states, alarms = group.update(Columns(batch), np.arange(len(batch)), meters)
        meter = float(meters[-1])
        group.take(batch, states, meter)
        if start + len(batch) <= since:
            continue
        if alarms and not found:
            age, first = max(LEAST_WINDOW, min(alarm.age for _, alarm in alarms)), start
            found.append(_judged(group, age))
        elif found and (start >= first + LATER or start + BATCH >= len(units)):
            return [*found, _judged(group, age + start - first)]
    return found + found  # it paged with the last unit


def _judged(group: Group, age: int) -> str:
    assert group.reference is not None
    return attribute(group.reference, group.reference.answers, group.evidence(), list(group.recent)[-age:])


def asked_again(known: Questions, random: np.random.Generator) -> Iterator[tuple[Change, list[str]]]:
    """Verdicts where reference and stream draw from one set."""
    models, share = random.permutation(len(known.answers))[:2], max(0.25, float(known.group.mean()))

    def drawn(n: int, group_share: float, swapped: float) -> list[Unit]:
        sides = [np.flatnonzero(known.group == side) for side in (0, 1)]
        rows = np.where(random.random(n) < group_share, random.choice(sides[1], n), random.choice(sides[0], n))
        return known.units(rows, models[(random.random(n) < swapped).astype(int)])

    reference = make_reference("", drawn(UNITS, share, 0), RULES.tails, 1 / PER_PAGE / SECONDS)
    for after in (share, min(0.95, share + 0.35), min(0.95, share + 0.6)):
        for swapped in (0.0, 0.3, 1.0) if after == share else (0.0, 1.0):
            if after != share or swapped:
                change = Change(share, after, swapped)
                yield change, verdicts(reference, drawn(256, share, 0) + drawn(1_400, after, swapped), 256)


def asked_anew(known: Questions, random: np.random.Generator) -> Iterator[tuple[Change, list[str]]]:
    """Verdicts where no prompt occurs twice, and group 1 was never asked."""
    models = random.permutation(len(known.answers))[:2]
    ordinary, new = (random.permutation(np.flatnonzero(known.group == side)) for side in (0, 1))
    former, left = ordinary[:NEW_UNITS], ordinary[NEW_UNITS:]
    reference = make_reference(
        "", known.units(former, np.full(len(former), models[0])), RULES.tails, 1 / PER_PAGE / SECONDS
    )
    for share in (0.0, 0.2, 0.5, 0.9):
        for swapped in (0.0, 1.0):
            if share or swapped:
                rows = _mixed(random.permutation(left[ORDINARY_LEFT:]), random.permutation(new), share, random)
                taken = np.concatenate([left[:ORDINARY_LEFT], rows])
                chosen = np.where(np.arange(len(taken)) < ORDINARY_LEFT, 0, random.random(len(taken)) < swapped)
                units = known.units(taken, models[chosen.astype(int)])
                yield Change(0.0, share, swapped), verdicts(reference, units, ORDINARY_LEFT)


def _mixed(ordinary: IntArray, new: IntArray, share: float, random: np.random.Generator) -> IntArray:
    """Rows of both, a share of them new, until one of them is used up."""
    is_new = random.random(len(ordinary) + len(new)) < share
    used = np.flatnonzero((is_new.cumsum() > len(new)) | ((~is_new).cumsum() > len(ordinary)))
    is_new = is_new[: used[0]] if len(used) else is_new
    rows = np.empty(len(is_new), np.int64)
    rows[is_new], rows[~is_new] = new[: is_new.sum()], ordinary[: (~is_new).sum()]
    return rows


def measure(runs: int, cache: Path) -> list[dict[str, object]]:
    """Counts of verdicts for every kind of change."""
    sets = {name: questions(name, cache) for name in MODELS}
    anew = {new: together(sets, new) for new in ("code", "oasst_model_eval")}
    counts: dict[tuple[str, str], list[Counter[str]]] = {}
    for run in track(range(runs), "changes", console=progress):
        worlds = [(f"again: {name}", asked_again(sets[name][1], np.random.default_rng((run, 0)))) for name in AGAIN]
        worlds += [(f"anew: {new}", asked_anew(anew[new], np.random.default_rng((run, 1)))) for new in anew]
        for world, changes in worlds:
            for change, found in changes:
                known = counts.setdefault((world, change.truth), [Counter(), Counter()])
                for phase, count in enumerate(known):
                    count[found[phase] if found else "no page"] += 1
    return [
        {"prompts": world, "changed": truth, "judged": PHASES[phase]} | dict(count)
        for (world, truth), phases in sorted(counts.items())
        for phase, count in enumerate(phases)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measure(arguments.runs, arguments.cache)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    columns = ("prompts", "changed", "judged", "users", "model", "both", "unclear", "no page")
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
