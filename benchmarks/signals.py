"""How good the signals are that need no head, and what each costs: the figures of docs/signal-quality.md.

    python -m benchmarks.signals [--json]

Flags on benign texts count as false, on faults that are made here as found; whole responses are cut at a random place
and letters are drawn at random. Costs are CPU time of one thread, beside the encoder's own on the same texts.

Data: see benchmarks/README.md, and HaluEval (RUCAIBox/HaluEval, MIT) as `interactions/halueval_qa`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from detectors.encoder import open_encoder
from detectors.signals import Exchanges, InteractionSignal, Readings, Signals, Texts, TextSignal, discover
from detectors.signals.personal_data import find
from tocsin.contracts import Interaction

DATA = Path(os.environ.get("TOCSIN_DATA", Path(__file__).parents[2] / "shared" / "data"))
CACHE = Path.home() / ".cache" / "tocsin"
FLAGS = ("cut_off", "gibberish", "repetition", "json_invalid", "unreadable", "personal_data", "language_mismatch")
KEYBOARD = "qwertyuiopasdfghjklzxcvbnm"
SHORT, LONG, TIMED = (5, 30), (130, 250), 256
HEADS = ("Toxicity", "Refusal", "Injection")

# Written for this measurement, apart from the patterns; every number has valid check digits and belongs to nobody.
PERSONAL = {
    "email": [
        "You can reach me at lena.hofmann@web-post.de.",
        "cc: r.o'neil+inbox@bigmail.ie",
        "mail to X_99@sub.domain-a.org",
        "My address is paulo@correio.com.br, thanks",
        "contact=<info@bakery-on-main.co.uk>",
    ],
    "iban": [
        "Transfer to FR14 2004 1010 0505 0001 3M02 606 please.",
        "IBAN NL91ABNA0417164300",
        "on DE75512108001245126199 by Friday",
        "CH93 0076 2011 6238 5295 7 is the account",
        "ES91-2100-0418-4502-0005-1332",
    ],
    "card": [
        "pay with 4539 1488 0343 6467",
        "my card number is 6011000990139424",
        "5425-2334-3010-9903 exp 04/29",
        "amex 3782 822463 10005 declined",
        "3530111333300000 was charged twice",
    ],
    "ssn": [
        "social security 219-09-8234",
        "SSN: 523-45-1998",
        "her ssn is 401-22-7654.",
        "(ssn 667-08-1122)",
        "078-22-4410 is mine",
    ],
    "phone": [
        "call +44 20 7946 0958",
        "my mobile: +1 (212) 736-5000",
        "ring me on 0151 2345 6789",
        "Tel. +33 1 42 68 53 00",
        "it is 646-823-4410 after six",
    ],
    "ip": [
        "blocked 93.184.216.34 yesterday",
        "from 2606:2800:220:1:248:1893:25c8:1946",
        "host 151.101.65.69:443",
        "8.26.56.26 logged in",
        "ip=185.199.108.153;",
    ],
}
HARMLESS = [
    "Version 10.4.2.1 was released on 2023-11-05 at 14:22:07.",
    "Order 4471-2290-11 ships in 3-5 days.",
    "Pi is 3.14159265358979323846.",
    "The population was 8,336,817 in 2020.",
    "Use 127.0.0.1:8080 or 192.168.0.14.",
    "SELECT * FROM t WHERE id = 1234567890123;",
    "ISBN 978-0-306-40615-7, pages 120-135.",
    "Sum: 1234 5678 9012 3456 (not a card).",
    "Write to someone@example.org.",
    "Flight LH 0441 on 12-04-2024, seat 14A.",
    "The ratio is 16:9, the time 12:30:15.",
    "Tracking 1Z999AA10123456784",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "sha 9f86d081884c7d659a2feaa0c55ad015",
    "@home we say a@b",
    "call 911",
    "Article 6(1) GDPR, 2016/679",
    "GB2100 0418 is a part number",
    "£1,250.00 - 20% = £1,000.00",
    "x = 555-01; y = 0x7fff0000",
]


def rows(name: str) -> list[dict[str, Any]]:
    """A data set."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def benign() -> dict[str, list[tuple[str, str]]]:
    """Prompts with responses of good models; requests to assistants have no response."""
    good = {"gpt-4", "gpt-3.5-turbo", "claude-v1.3", "deepseek-v3-0324"}
    oasst = [row for row in rows("interactions/oasst_model_eval") if row["model"] in good]
    return {
        "clinc150, requests": [(row["text"], "") for row in rows("drift/clinc150")],
        "banking77, requests": [(row["text"], "") for row in rows("drift/banking77")],
        "tatoeba, German": [(row["text"], "") for row in rows("drift/tatoeba_german")],
        "oasst, four good models": [(row["prompt"], row["response"]) for row in oasst],
        "arena-hard": [(row["prompt"], row["response"]) for row in rows("interactions/arena_hard")],
        "gsm8k": [(row["prompt"], row["response"]) for row in rows("interactions/gsm8k")],
        "PandaLM": [(row["prompt"], str(row["response_1"])) for row in rows("interactions/pandalm_preferences")],
    }


class Bench:
    """The default signals without heads, on texts that are not encoded: none of them reads a vector."""

    def __init__(self) -> None:
        every = discover()
        self.signals = Signals(
            tuple(each for each in every.texts if type(each).__name__ not in HEADS),
            tuple(each for each in every.interactions if type(each).__name__ not in HEADS),
        )
        self.encoder = open_encoder("onnx", cache=CACHE)

    def exchanges(self, pairs: Sequence[tuple[str, str]], **fields: Any) -> Exchanges:
        """Interactions of these prompts and responses."""
        said = [Interaction(application="bench", prompt=one, response=other, **fields) for one, other in pairs]
        nothing = self.encoder.encode([""])[np.zeros(len(pairs), dtype=np.intp)]
        columns = [pair[0] for pair in pairs], [pair[1] for pair in pairs], [one.reference or "" for one in said]
        return Exchanges(said, *(Texts(column, nothing) for column in columns))

    def flagged(self, pairs: Sequence[tuple[str, str]], **fields: Any) -> dict[str, float]:
        """Share of the interactions that raise each flag on either side."""
        exchanges, shares = self.exchanges(pairs, **fields), dict[str, Any]()
        for signal in self.signals.every:
            for found in readings(signal, exchanges):
                for output in signal.outputs:
                    if output.name in FLAGS and output.threshold is not None:
                        with np.errstate(invalid="ignore"):
                            above = found.numbers[output.name] > output.threshold
                        shares[output.name] = shares.get(output.name, False) | above
        return {name: float(np.mean(above)) for name, above in shares.items()}


def readings(signal: TextSignal | InteractionSignal, exchanges: Exchanges) -> Iterator[Readings]:
    """Of prompts and of responses, or of interactions."""
    if isinstance(signal, TextSignal):
        yield from (signal.score_texts(side) for side in (exchanges.prompts, exchanges.responses))
    else:
        yield signal.score_interactions(exchanges)


def faults(seed: int = 0) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """What is wrong, the flag that should say so, and interactions with that fault."""
    draw = random.Random(seed)
    arena = [row["response"] for row in rows("interactions/arena_hard")]
    oasst = [
        row["response"] for row in rows("interactions/oasst_model_eval") if row["model"] in ("gpt-4", "claude-v1.3")
    ]
    long = [text for text in oasst if len(text) > 200]
    json_texts = [
        json.dumps({"name": "x" * draw.randint(1, 9), "items": list(range(draw.randint(1, 9)))}) for _ in range(500)
    ]

    def letters(words: int) -> str:
        return " ".join("".join(draw.choices(KEYBOARD, k=draw.randint(3, 9))) for _ in range(words))

    def cut(text: str) -> str:
        return text[: draw.randint(100, len(text) - 20)]

    def stuck(text: str) -> str:
        words = text.split()
        at = draw.randint(5, max(6, len(words) // 2))
        return " ".join([*words[:at], *(words[at : at + draw.randint(1, 12)] * 60)])

    def shuffled(text: str) -> str:
        return " ".join("".join(draw.sample(word, len(word))) for word in text[:400].split())

    asked = "Answer with nothing but JSON."
    return {
        "prose cut anywhere (oasst)": ("cut_off", [("", cut(text)) for text in long]),
        "markdown and code cut anywhere (arena)": ("cut_off", [("", cut(text)) for text in arena if len(text) > 200]),
        "3 words of random letters": ("gibberish", [(letters(3), "") for _ in range(500)]),
        "15 words of random letters": ("gibberish", [(letters(15), "") for _ in range(500)]),
        "letters shuffled inside words": ("gibberish", [("", shuffled(text)) for text in oasst]),
        "stuck in a loop of 1 to 12 words": ("repetition", [("", stuck(text)) for text in oasst if len(text) > 60]),
        "JSON cut anywhere": ("json_invalid", [(asked, text[: draw.randint(1, len(text) - 1)]) for text in json_texts]),
        "JSON with a word before it": ("json_invalid", [(asked, f"Sure: {text}") for text in json_texts]),
        "sound JSON (should be 0)": ("json_invalid", [(asked, text) for text in json_texts]),
    }


def groundedness(bench: Bench) -> dict[str, float]:
    """HaluEval: right and hallucinated answers to one question, with the passage."""
    values: dict[str, list[float]] = {"right_answer": [], "hallucinated_answer": []}
    (signal,) = (each for each in bench.signals.interactions if type(each).__name__ == "Groundedness")
    for row in rows("interactions/halueval_qa"):
        for kind, found in values.items():
            exchange = bench.exchanges([(row["question"], row[kind])], context=[row["knowledge"]])
            found.append(float(signal.score_interactions(exchange).numbers["unsupported"][0]))
    scores = np.nan_to_num(np.array([*values["right_answer"], *values["hallucinated_answer"]]))
    truth = np.repeat([0, 1], len(scores) // 2)
    return {
        "AUROC": float(roc_auc_score(truth, scores)),
        "right answers flagged": float((scores[truth == 0] > 0.5).mean()),
        "hallucinated answers flagged": float((scores[truth == 1] > 0.5).mean()),
    }


def personal_data() -> dict[str, float]:
    """Precision and recall by kind on the sentences above."""
    found = wrong = 0
    for kind, sentences in PERSONAL.items():
        counts = [find(sentence) for sentence in sentences]
        found += sum(each[kind] == 1 for each in counts)
        wrong += sum(each.total() - each[kind] for each in counts)
    wrong += sum(find(sentence).total() for sentence in HARMLESS)
    return {"recall": found / sum(map(len, PERSONAL.values())), "precision": found / (found + wrong), "wrong": wrong}


def timed_reading(signal: TextSignal | InteractionSignal, exchanges: Exchanges) -> float:
    """Microseconds of CPU time that a text of these takes."""
    spent = cpu(lambda: list(readings(signal, exchanges)))
    return spent / (2 * len(exchanges)) * 1e6


def costs(bench: Bench) -> dict[str, dict[str, float]]:
    """Microseconds of CPU a text, of each signal and of the encoder, on short and on long texts that none has seen."""
    arena = [row["response"] for row in rows("interactions/arena_hard")] + [
        row["text"] for row in rows("drift/clinc150")
    ]
    found: dict[str, dict[str, float]] = {}
    for length, (least, most) in {"short": SHORT, "long": LONG}.items():
        chosen = [text for text in arena if least <= len(text.split()) <= most]
        texts = random.Random(1).sample(chosen, 2 * TIMED)
        pairs = list(zip(texts[:TIMED], texts[TIMED:], strict=True))
        warm, timed = bench.exchanges(pairs[:8]), bench.exchanges(pairs[8:])
        total = 0.0
        for signal in bench.signals.every:
            list(readings(signal, warm))
            found.setdefault(type(signal).__name__, {})[length] = spent = timed_reading(signal, timed)
            total += spent
        sample = texts[: TIMED // 4]
        found.setdefault("all of them", {})[length] = total
        found.setdefault("the encoder", {})[length] = cpu(partial(bench.encoder.encode, sample)) / len(sample) * 1e6
    return found


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU time that this takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure() -> dict[str, Any]:
    """Every figure."""
    bench = Bench()
    return {
        "false flags on benign traffic, % of interactions": {
            name: {"n": len(pairs)} | {flag: 100 * share for flag, share in bench.flagged(pairs).items()}
            for name, pairs in benign().items()
        },
        "found of made faults, %": {
            name: {"n": len(pairs), "found": 100 * bench.flagged(pairs)[flag]}
            for name, (flag, pairs) in faults().items()
        },
        "groundedness on HaluEval": {"unsupported": groundedness(bench)},
        "personal data on written sentences": {"patterns": personal_data()},
        "CPU, µs a text": costs(bench),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    if parser.parse_args().json:
        print(json.dumps(measure(), indent=1))
        return
    for title, lines in measure().items():
        columns = list(dict.fromkeys(column for line in lines.values() for column in line))
        table = Table("", *columns, title=title)
        for name, line in lines.items():
            table.add_row(name, *(f"{line[column]:.4g}" if column in line else "" for column in columns))
        Console(width=160).print(table)


if __name__ == "__main__":
    main()
