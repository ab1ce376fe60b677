"""Files of people, published to a running system: mapped, refused line by line, and gone on with after a kill."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from streams.cli import app
from streams.core.decoding import Accepted, DeadLetter, decode_interaction
from streams.offline.importing import BATCH
from streams.offline.interactions import bounds_of_history
from streams.offline.lines import Lines, Reading, Ready, Refused
from streams.offline.records import Record
from streams.settings import Broker, Limits
from streams.topics import ensure_topics
from tests.program import TOCSIN, environment, until
from tocsin import Interaction
from tocsin.messages import INTERACTIONS

NOW = datetime(2026, 11, 1, tzinfo=UTC)
WHEN = (NOW - timedelta(days=1)).isoformat()


def line(plain: dict[str, Any], number: int = 1, **reading: Any) -> Any:
    record = Record(number, json.dumps(plain, default=str).encode())
    found = Lines(Reading(**({"application": "shop"} | reading)), Limits(), NOW).read(record, NOW)
    return Interaction.model_validate_json(found.message.value) if isinstance(found, Ready) else found


def test_fields_are_found_where_the_file_has_them() -> None:
    columns = {"prompt": "question", "response": "output.text", "occurred_at": "when", "attributes.tenant": "org"}
    said = {"question": "a", "output": {"text": "b"}, "when": "2026-10-31 12:00:00", "org": 7, "model.name": "m"}
    found = line({key: value for key, value in said.items() if key != "output"} | {"output.text": "b"}, columns=columns)
    assert (found.prompt, found.response, found.model.name) == ("a", "b", "m")
    assert found.attributes == {"tenant": "7"}
    assert found.occurred_at == datetime(2026, 10, 31, 12, tzinfo=UTC)  # no zone: UTC
    assert line(said, columns=columns, known_only=True).response == "b"  # a path into an object


@pytest.mark.parametrize(
    ("plain", "reason", "named"),
    [
        ({"prompt": "a", "response": "b", "ocurred_at": WHEN}, "schema", "ocurred_at"),
        ({"prompt": "a"}, "schema", "response"),
        ({"text": "a"}, "schema", "--map prompt=text"),
        ({"prompt": "a", "response": "b", "occurred_at": "2020-01-01"}, "too_old", "90 days"),
        ({"prompt": "a", "response": "b", "occurred_at": "2027-01-01"}, "future", "ahead"),
        ({"prompt": "a", "response": "b", "application": ""}, "schema", "application"),
        ({"prompt": "a", "response": "b", "reference": "secret" * 300_000}, "too_large", "1048576"),
    ],
)
def test_a_line_that_would_be_refused_says_why_and_never_what_it_holds(
    plain: dict[str, Any], reason: str, named: str
) -> None:
    found = line(plain, number=7)
    assert isinstance(found, Refused)
    assert (found.number, found.reason) == (7, reason)
    assert named in found.detail
    assert "secret" not in found.detail


def test_history_is_taken_by_a_flag_here_and_by_the_workers() -> None:
    old = {"prompt": "a", "response": "b", "occurred_at": "2020-01-01"}
    found = line(old, any_age=True)
    bounds = bounds_of_history(Limits())
    strict = type(bounds)(bounds.message_bytes, bounds.text_characters, timedelta(0), timedelta(days=90))
    assert isinstance(decode_interaction(found.model_dump_json().encode(), NOW, strict), Accepted)
    unmarked = found.model_copy(update={"history": None}).model_dump_json(exclude_none=True).encode()
    assert isinstance(decode_interaction(unmarked, NOW, strict), DeadLetter)


def test_ids_follow_from_place_and_content_unless_the_line_has_one() -> None:
    first, again, below = (line({"prompt": "a", "response": "b"}, number) for number in (1, 1, 2))
    assert first == again
    assert first.interaction_id != below.interaction_id
    assert first.occurred_at < below.occurred_at
    assert line({"prompt": "a", "response": "b", "interaction_id": "own"}).interaction_id == "own"


def test_a_shifted_line_happens_now_and_is_new_traffic() -> None:
    plain = {"prompt": "a", "response": "b", "occurred_at": "2020-01-01", "interaction_id": "i", "session_id": "s"}
    found = line(plain, run="r1")
    assert (found.occurred_at, found.interaction_id, found.session_id) == (NOW, "i~r1", "s~r1")


def test_what_tocsin_has_stored_can_be_imported_again_without_its_scores() -> None:
    row = {
        "application": "shop", "interaction_id": "i", "occurred_at": "2026-10-31 12:00:00", "stored_at": WHEN,
        "prompt": "a", "response": "b", "model_name": "m", "model_provider": "", "template_name": "", "session_id": "",
        "signals": {"relevance": 1.0}, "prompt_vector": "AAAA", "response_vector": "AAAA", "encoder": "e", "flags": [],
    }  # fmt: skip
    found = line(row)
    assert (found.prompt, found.model.name, found.session_id) == ("a", "m", None)
    assert line(row, known_only=True) == found


class Gateway:
    """Takes what is posted; holds the answer back while told to."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.holding_from = 10**9
        self.answers: list[int] = []


@pytest.fixture
def gateway() -> Iterator[tuple[str, Gateway]]:
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
            status = told.answers.pop(0) if told.answers else 202
            if status == 202:
                told.batches.append(json.loads(raw))
            while len(told.batches) > told.holding_from:
                time.sleep(0.02)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", told
        told.holding_from = 10**9
        server.shutdown()
        thread.join()


def written(file: Path, count: int) -> Path:
    made = ({"prompt": f"q{i}", "response": "a", "occurred_at": datetime.now(UTC).isoformat()} for i in range(count))
    file.write_text("".join(json.dumps(each) + "\n" for each in made), encoding="utf-8")
    return file


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def test_a_killed_import_goes_on_and_repeats_what_was_under_way_alone(
    tmp_path: Path, gateway: tuple[str, Gateway]
) -> None:
    url, told = gateway
    count = 5 * BATCH + 7
    file = written(tmp_path / "history.jsonl", count)
    arguments = ["import", str(file), "--application", "shop", "--url", url, "--data", str(tmp_path / "data")]
    told.holding_from = 2
    process = subprocess.Popen([*TOCSIN, *arguments], cwd=tmp_path, env=environment({}))
    until(lambda: len(told.batches) > 2, "the third batch is under way", 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    told.holding_from = 10**9
    code, summary = run(*arguments)
    assert (code, summary["records"], summary["published"]) == (0, count, count)
    assert told.batches[2] == told.batches[3]
    del told.batches[3]
    received = [each["prompt"] for batch in told.batches for each in batch]
    assert received == [f"q{i}" for i in range(count)]
    assert not list((tmp_path / "data" / "imports").iterdir())


def test_an_import_waits_while_the_system_cannot_take_more(tmp_path: Path, gateway: tuple[str, Gateway]) -> None:
    url, told = gateway
    told.answers = [429, 503]
    file = written(tmp_path / "a.jsonl", 3)
    code, summary = run("import", str(file), "--application", "shop", "--url", url, "--data", str(tmp_path))
    assert (code, summary["published"], len(told.batches)) == (0, 3, 1)
    told.answers = [401]
    refused = CliRunner().invoke(
        app, ["import", str(file), "--application", "shop", "--url", url, "--data", str(tmp_path)]
    )
    assert refused.exit_code == 1
    assert "TOCSIN_API_KEY" in refused.stderr


def test_a_dry_run_publishes_nothing_and_needs_no_system(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"question,answer,occurred_at\na,b,{datetime.now(UTC).isoformat()}\nc,,2020-01-01\n", "utf-8")
    columns = ["--map", "prompt=question", "--map", "response=answer"]
    code, summary = run("import", str(file), "--dry-run", "--application", "shop", "--data", str(tmp_path), *columns)
    assert (code, summary["records"], summary["published"], summary["refused"]) == (1, 2, 0, {"schema": 1})
    assert summary["lines"] == [{"line": 3, "reason": "schema", "detail": "response: Field required"}]
    assert not (tmp_path / "imports").exists()


def test_a_mistake_that_all_lines_have_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("prompt,response\n" + "a,b\n" * 5, "utf-8")
    result = CliRunner().invoke(app, ["import", str(file), "--dry-run", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout.count("application") == 1 and "line 2 and 4 more  schema" in result.stdout


def test_a_replay_keeps_the_distances_between_times(tmp_path: Path, gateway: tuple[str, Gateway]) -> None:
    url, told = gateway
    begun = datetime.now(UTC) - timedelta(hours=1)
    file = tmp_path / "a.jsonl"
    made = ({"prompt": f"q{i}", "response": "a", "occurred_at": begun + timedelta(seconds=60 * i)} for i in range(3))
    file.write_text("".join(json.dumps(each, default=str) + "\n" for each in made), "utf-8")
    options = ["--application", "shop", "--url", url, "--data", str(tmp_path), "--shift-to-now"]
    assert run("replay", str(file), "--speed", "200", *options)[1]["published"] == 3
    times = [datetime.fromisoformat(each["occurred_at"]) for batch in told.batches for each in batch]
    assert len(times) == 3
    assert all(timedelta(seconds=0.25) < later - earlier for earlier, later in pairwise(times))
    assert run("replay", str(file), "--speed", "0", *options)[1]["published"] == 3
    assert len(told.batches[-1]) == 3  # all at once


def test_parquet_goes_straight_to_the_broker_that_is_configured(
    tmp_path: Path,
    embedded_broker: str,
    monkeypatch: pytest.MonkeyPatch,
    stored: Callable[[str, str], list[Interaction]],
) -> None:
    ensure_topics(Broker(bootstrap=embedded_broker))
    monkeypatch.setenv("TOCSIN_BROKER__BOOTSTRAP", embedded_broker)
    table = pa.table({"prompt": [f"q{i}" for i in range(500)], "response": ["a"] * 500, "usage.cost": [0.5] * 500})
    pq.write_table(table, tmp_path / "a.parquet")
    code, summary = run("import", str(tmp_path / "a.parquet"), "--application", "parquet", "--data", str(tmp_path))
    assert (code, summary["published"]) == (0, 500)
    found = stored(embedded_broker, "parquet")
    assert {each.prompt for each in found} == {f"q{i}" for i in range(500)}
    assert found[0].usage is not None
    assert found[0].usage.cost == 0.5


@pytest.fixture
def stored() -> Callable[[str, str], list[Interaction]]:
    def read(bootstrap: str, application: str) -> list[Interaction]:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(INTERACTIONS, each) for each in consumer.partitions_for_topic(INTERACTIONS)])
        found = []
        while polled := consumer.poll(timeout_ms=2_000):
            found += [json.loads(record.value) for records in polled.values() for record in records]
        consumer.close()
        return [Interaction.model_validate(each) for each in found if each["application"] == application]

    return read
