"""What was published to `tocsin up` and is exported from its tables gives the pages that it has sent."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from streams.offline.records import open_records
from streams.offline.scoring import score_records
from streams.settings import load
from tests.program import TOCSIN, Program, tocsin, until
from tests.streams.offline.conftest import Line, written
from tests.streams.test_up import System
from tests.test_docs import blocks
from tocsin.messages import SIGNALS

pytestmark = pytest.mark.integration

SETTINGS = {
    "TOCSIN_DISK_FREE_BYTES": "0",
    "TOCSIN_WATCH__REFERENCE_UNITS": "2000",
    "TOCSIN_BUDGET__PAGES_PER_30_DAYS": "3",
}
ORDINARY, CHANGED, BATCH = 2_100, 120, 250
APART = timedelta(minutes=30)
WORDS = (
    ("please", "could you", "help me to", "what does it cost to", "when can I", "why should I"),
    ("book", "cancel", "move", "paint", "forget", "change", "sell", "compare", "photograph", "clean"),
    ("a flight", "the hotel", "my guitar", "a train", "our tickets", "a horse", "my teeth", "the soup", "this book"),
)
GERMAN = (
    ("bitte", "kannst du", "ich will", "wir müssen", "darf ich"),
    ("das Haus", "den Garten", "die Katze", "einen Kuchen", "das Fahrrad"),
    ("sehen", "malen", "suchen", "verkaufen", "waschen"),
)
PLAIN_EXPORT = "SELECT * EXCEPT (prompt, response) FROM interactions FINAL ORDER BY stored_at, occurred_at"
(PACKED_EXPORT,) = blocks(Path(__file__).parents[3] / "docs" / "backtest.md", "sql")
COMPARED = ("page_id", "stream", "segment", "lane", "position", "occurred_at", "evidence", "effect", "share")


def sentences(words: tuple[tuple[str, ...], ...], count: int) -> list[str]:
    """Different sentences, each of two of all that these words make; hardly two are nearly the same."""
    clauses = [" ".join(parts) for parts in itertools.product(*words)]
    drawn = np.random.default_rng(count).choice(len(clauses), (count, 2))
    return [f"{clauses[one]}, {clauses[other]}" for one, other in drawn]


def published() -> list[Line]:
    """Requests that begin to be German."""
    prompts = sentences(WORDS, ORDINARY) + sentences(GERMAN, CHANGED)
    began = datetime.now(UTC).replace(microsecond=123_456) - APART * len(prompts)
    return [
        {
            "interaction_id": f"i{i}",
            "application": "shop",
            "occurred_at": (began + APART * i).isoformat(),
            "prompt": prompt,
            "response": "Done." if i % 2 else "That is all right.",
            "latency_ms": 100 + i % 7,
        }
        for i, prompt in enumerate(prompts)
    ]


class Live(System):
    """A system with these settings."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.program = Program([*TOCSIN, "up", "--port", str(self.port)], directory, SETTINGS, ready="tocsin is up")

    def is_done(self) -> bool:
        """Whether every interaction was watched, and no message of any topic waits."""
        found = self.client.get("/v1/audit").json()
        watched = sum(each["stored"] for each in found["partitions"] if each["topic"] == SIGNALS)
        return watched >= ORDINARY + CHANGED and not found["total"]["waiting"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that has dealt with all of it; one batch was delivered twice."""
    system = Live(tmp_path_factory.mktemp("live"))
    lines = published()
    with system.program, system.client:
        system.start()
        for start in range(0, len(lines), BATCH):
            for _ in range(1 + (start == BATCH)):
                answer = system.client.post("/v1/interactions", json=lines[start : start + BATCH])
                assert answer.status_code == 202, answer.text
        until(system.is_done, "every stage is done")
        assert system.audit()["duplicate"] == BATCH
        yield system


def comparable(pages: Iterable[Line]) -> list[Line]:
    """Pages of both kinds by the fields that they share, in the same order."""
    said = [
        {name: page.get(name) for name in COMPARED} | {"began": page.get("began_at") or page["began_estimate"]}
        for page in pages
    ]
    return sorted(said, key=lambda page: (page["occurred_at"], page["stream"]))


def test_an_exported_table_gives_the_pages_that_were_sent(live: System) -> None:
    sent = [json.loads(row["explanation"]) for row in live.sql("SELECT explanation FROM pages FINAL")]
    assert "prompt" in {page["stream"] for page in sent}
    (reference,) = live.sql("SELECT units FROM references FINAL WHERE status = 'current'")
    exported = tocsin("sql", PLAIN_EXPORT, "--json", directory=live.directory, settings=SETTINGS)
    file = live.directory / "exported.jsonl"
    file.write_text(exported.stdout, encoding="utf-8")
    command = ("backtest", str(file), "--reference-first", str(reference["units"]), "--json")
    answer = tocsin(*command, directory=live.directory, settings=SETTINGS)
    assert answer.returncode == 0, answer.stderr
    *found, summary = map(json.loads, answer.stdout.splitlines())
    assert comparable(found) == comparable(sent)
    assert summary["events"] == ORDINARY + CHANGED


def test_the_file_that_was_published_is_scored_as_the_table_is(live: System) -> None:
    """But for the last bits of the heads' scores, which depend on how many texts are scored at a time."""
    rows = live.sql(f"{PACKED_EXPORT} LIMIT 64")
    lines = {line["interaction_id"]: line for line in published()}
    file = written(live.directory / "few.jsonl", [lines[row["interaction_id"]] for row in rows])
    with open_records(file) as records:
        scored = list(score_records(records, load()[0], vectors=True))
    exact = ("interaction_id", "labels", "encoder", "prompt_vector", "response_vector")
    assert [[each[name] for name in exact] for each in scored] == [[row[name] for name in exact] for row in rows]
    for each, row in zip(scored, rows, strict=True):
        assert each["signals"] == pytest.approx(row["signals"], abs=1e-6)
