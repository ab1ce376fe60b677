"""RESPOND on a real broker and a real store, with a real receiver and a real job: from the page to the reference."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from kafka import KafkaConsumer, TopicPartition

from sinks.clickhouse import Store
from sinks.retraining import Options, build_target
from streams.agents.delivery import deliver
from streams.agents.respond import Surroundings, respond_handlers
from streams.agents.runs import Runs
from streams.publisher import Publisher
from streams.worker import Record
from tests.receiver import Receiver
from tests.streams.agents.conftest import Topic
from tests.streams.agents.cut import Cut, CutPublisher, CutStore, Killed
from tests.streams.agents.paging import URL, page, surroundings
from tocsin.contracts import now
from tocsin.messages import (
    ACCEPTED,
    COMMANDS,
    PAGES,
    SIGNALS,
    SIGNALS_MESSAGE,
    Acknowledge,
    Promote,
    PromoteReference,
    Propose,
    ProposeReference,
    Rearm,
    Resolve,
    RunStatus,
)

SECRET = b"a secret of thirty-two bytes....."
JOB = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['TOCSIN_BUNDLE'])"


def _around(store: Store, publisher: Publisher, urls: list[str]) -> Surroundings:
    retraining = {"target": "command", "command": [sys.executable, "-c", JOB], "cooldown_hours": 1}
    at_once = {"retry_seconds": 0.01, "group_seconds": 0, "follow_up_seconds": 0}
    return surroundings(store, publisher, urls, {"retraining": retraining, "notification": at_once})


def respond(
    store: Store,
    bootstrap: str,
    tmp_path: Path,
    steps: Callable[[dict[str, Any], Surroundings, Runs], Awaitable[None]],
    urls: list[str],
) -> None:
    async def run() -> None:
        async with Publisher(bootstrap) as publisher:
            around = _around(store, publisher, urls)
            target = build_target("command", Options(tmp_path, tuple(around.settings.retraining.command)))
            runs = Runs(store, around.runs, target, SECRET, tmp_path, URL, timedelta(hours=1), now)
            await steps(respond_handlers(around), around, runs)

    asyncio.run(run())


def answers(bootstrap: str, application: str) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=2_000)
    consumer.assign([TopicPartition(SIGNALS, partition) for partition in (0, 1)])
    read = [SIGNALS_MESSAGE.validate_json(message.value) for message in consumer]
    consumer.close()
    return [each for each in read if isinstance(each, Rearm | Propose | Promote) and each.application == application]


def test_a_page_reaches_its_people_once_though_it_comes_twice(store: Store, bootstrap: str, tmp_path: Path) -> None:
    cried = page("shop")

    async def steps(handlers: dict[str, Any], around: Surroundings, _: Runs) -> None:
        topic = Topic(PAGES)
        record = topic.record(cried)
        await handlers[PAGES]([record])
        await deliver(around)
        await handlers[PAGES]([record])
        await deliver(around)

    with Receiver() as receiver:
        respond(store, bootstrap, tmp_path, steps, [receiver.url])
    assert list(receiver.ids.values()) == [1]
    incident = store.query("SELECT * FROM incidents FINAL")[0]
    assert incident["page_ids"] == [cried.page_id]
    assert incident["state"] == "firing"
    sent = store.query("SELECT state, attempts, body FROM notifications FINAL")
    assert [(row["state"], row["attempts"]) for row in sent] == [("sent", 1)]
    assert f"page: {cried.page_id}" in sent[0]["body"]
    assert f"/incidents/{incident['incident_id']}" in sent[0]["body"]


def test_wherever_the_stage_is_killed_people_are_told_and_runs_are_planned_once(
    store: Store, bootstrap: str, tmp_path: Path
) -> None:
    application, paged, given = f"k-{uuid.uuid4()}", Topic(PAGES), Topic(COMMANDS)
    records = [paged.record(page(application))]

    def deliver_until_done(topic: str, records: list[Record], killed_at: Sequence[str]) -> None:
        for name in [*killed_at, ""]:

            async def step(cut: Cut = Cut(name)) -> None:  # noqa: B008  one each
                async with CutPublisher(bootstrap, cut) as publisher:
                    around = _around(CutStore(store, cut), publisher, ["json://127.0.0.1:1"])
                    await respond_handlers(around)[topic](records)

            with pytest.raises(Killed) if name else nullcontext():
                asyncio.run(step())

    deliver_until_done(PAGES, records, ["outbox", "retraining_runs", "incident_events", "incidents", "ledger"])
    (incident,) = store.query("SELECT incident_id, state FROM incidents FINAL")
    (run,) = store.query("SELECT run_id FROM retraining_runs FINAL")
    assert [row["incident_id"] for row in store.query("SELECT * FROM outbox FINAL")] == [incident["incident_id"]]
    succeeded = RunStatus(run_id=run["run_id"], state="succeeded", given_at=now())
    resolved = Resolve(incident_id=incident["incident_id"], actor="a", given_at=now())
    deliver_until_done(COMMANDS, [given.record(succeeded)], [SIGNALS, "retraining_runs", "incident_events", "ledger"])
    deliver_until_done(COMMANDS, [given.record(resolved)], [SIGNALS, "incident_events", "incidents", "ledger"])
    events = store.query("SELECT kind FROM incident_events FINAL ORDER BY kind")
    assert [row["kind"] for row in events] == ["page", "resolved", "retraining planned", "retraining succeeded"]
    told = {(type(each), each.source.offset) for each in answers(bootstrap, application)}
    assert told == {(Propose, 0), (Rearm, 1)}


def test_a_target_that_is_away_is_told_later(store: Store, bootstrap: str, tmp_path: Path) -> None:
    with Receiver() as gone:
        url = gone.url

    async def page_in_vain(handlers: dict[str, Any], around: Surroundings, _: Runs) -> None:
        await handlers[PAGES]([Topic(PAGES).record(page("shop"))])
        await deliver(around)
        rows = store.query("SELECT state, attempts FROM notifications FINAL")
        assert [(row["state"], row["attempts"]) for row in rows] == [("pending", 1)]

    respond(store, bootstrap, tmp_path, page_in_vain, [url])


def test_further_pages_join_the_incident_and_resolving_it_arms_the_streams(
    store: Store, bootstrap: str, tmp_path: Path
) -> None:
    application = f"shop-{uuid.uuid4()}"

    async def steps(handlers: dict[str, Any], around: Surroundings, _: Runs) -> None:
        pages, commands = Topic(PAGES), Topic(COMMANDS)
        await handlers[PAGES]([pages.record(page(application)), pages.record(page(application, "response"))])
        found = store.query("SELECT incident_id, streams FROM incidents FINAL")
        assert [row["streams"] for row in found] == [["prompt", "response"]]
        incident_id = found[0]["incident_id"]
        seen = Acknowledge(incident_id=incident_id, actor="ann", given_at=now())
        over = Resolve(incident_id=incident_id, actor="ann", given_at=now(), note="a campaign")
        record = commands.record(over)
        await handlers[COMMANDS]([commands.record(seen), record])
        await handlers[COMMANDS]([record])

    respond(store, bootstrap, tmp_path, steps, [])
    kinds = [row["kind"] for row in store.query("SELECT kind FROM incident_events FINAL ORDER BY happened_at")]
    assert kinds.count("page") == 2
    assert kinds.count("acknowledged") == 1
    assert kinds.count("resolved") == 1
    assert store.query("SELECT state FROM incidents FINAL")[0]["state"] == "resolved"
    assert len({each.source.offset for each in answers(bootstrap, application)}) == 1


def test_an_incident_starts_one_run_whose_report_proposes_a_reference(
    store: Store, bootstrap: str, tmp_path: Path
) -> None:
    application = f"shop-{uuid.uuid4()}"

    async def steps(handlers: dict[str, Any], around: Surroundings, runs: Runs) -> None:
        pages = Topic(PAGES)
        await handlers[PAGES]([pages.record(page(application)), pages.record(page(application, "response"))])
        await asyncio.to_thread(runs.advance)
        started = store.query("SELECT run_id, state FROM retraining_runs FINAL")
        assert [row["state"] for row in started] == ["started"]
        run_id = started[0]["run_id"]
        report = RunStatus(
            run_id=run_id, state="succeeded", given_at=now(), model_version="7", metrics={"accuracy": 0.9}
        )
        record = Topic(COMMANDS, partition=1).record(report)
        await handlers[COMMANDS]([record])
        await handlers[COMMANDS]([record])

    respond(store, bootstrap, tmp_path, steps, [])
    run = store.query("SELECT * FROM retraining_runs FINAL")[0]
    assert run["state"] == "succeeded"
    assert run["model_version"] == "7"
    bundle = tmp_path / run["run_id"] / "bundle"
    assert {file.name for file in bundle.iterdir()} >= {"manifest.json", "reference.jsonl", "drifted.parquet"}
    proposals = [each for each in answers(bootstrap, application) if isinstance(each, Propose)]
    assert {(each.run_id, each.model_version) for each in proposals} == {(run["run_id"], "7")}


def test_a_run_waits_for_the_incident_that_is_stored_after_it(store: Store, bootstrap: str, tmp_path: Path) -> None:
    async def steps(handlers: dict[str, Any], around: Surroundings, runs: Runs) -> None:
        record = Topic(PAGES).record(page("shop"))
        cut = replace(around, store=cast(Store, CutStore(store, Cut("incidents"))))
        with pytest.raises(Killed):
            await respond_handlers(cut)[PAGES]([record])
        await asyncio.to_thread(runs.advance)
        assert [row["state"] for row in store.query("SELECT state FROM retraining_runs FINAL")] == ["planned"]
        await handlers[PAGES]([record])
        await asyncio.to_thread(runs.advance)

    respond(store, bootstrap, tmp_path, steps, [])
    assert [row["state"] for row in store.query("SELECT state FROM retraining_runs FINAL")] == ["started"]


def test_a_job_that_ends_without_a_word_has_failed(store: Store, bootstrap: str, tmp_path: Path) -> None:
    async def steps(handlers: dict[str, Any], around: Surroundings, runs: Runs) -> None:
        await handlers[PAGES]([Topic(PAGES).record(page("shop"))])
        for _ in range(200):
            await asyncio.to_thread(runs.advance)
            if store.query("SELECT state FROM retraining_runs FINAL")[0]["state"] == "failed":
                break
            await asyncio.sleep(0.1)

    respond(store, bootstrap, tmp_path, steps, [])
    run = store.query("SELECT state, detail FROM retraining_runs FINAL")[0]
    assert run["state"] == "failed"
    assert "without a report" in run["detail"]


def test_a_run_that_has_ended_is_not_changed_any_more(store: Store, bootstrap: str, tmp_path: Path) -> None:
    """The end of the job is noticed just after its report was written."""

    async def steps(handlers: dict[str, Any], around: Surroundings, runs: Runs) -> None:
        await handlers[PAGES]([Topic(PAGES).record(page("shop"))])
        run_id = store.query("SELECT run_id FROM retraining_runs FINAL")[0]["run_id"]
        around.runs.report(RunStatus(run_id=run_id, state="succeeded", given_at=now()))
        assert around.runs.change(run_id, state="started", detail="late") is None
        around.runs.report(RunStatus(run_id=run_id, state="failed", given_at=now()))

    respond(store, bootstrap, tmp_path, steps, [])
    assert [row["state"] for row in store.query("SELECT state FROM retraining_runs FINAL")] == ["succeeded"]


def test_whoever_accepts_a_change_has_a_reference_collected_from_what_follows(
    store: Store, bootstrap: str, tmp_path: Path
) -> None:
    application, unknown = f"shop-{uuid.uuid4()}", f"nobody-{uuid.uuid4()}"
    row = {"application": application, "members": [], "fitted": "", "created_at": now(), "version": 1}
    store.insert("references", [row | {"reference_id": "old", "segment": "", "status": "current"}])

    async def steps(handlers: dict[str, Any], *_: object) -> None:
        topic = Topic(COMMANDS)
        for each in (application, unknown):
            await handlers[COMMANDS]([topic.record(ProposeReference(application=each, actor="ann", given_at=now()))])

    respond(store, bootstrap, tmp_path, steps, [])
    (asked,) = answers(bootstrap, application)
    assert isinstance(asked, Propose) and asked.run_id.startswith(ACCEPTED) and not asked.model_version
    assert answers(bootstrap, unknown) == []


def test_a_promotion_is_of_the_whole_application_and_takes_the_place_of_its_former_reference(
    store: Store, bootstrap: str, tmp_path: Path
) -> None:
    """A segment's reference comes into force with that of the whole, and not by itself."""
    application, moment = f"shop-{uuid.uuid4()}", now()
    row = {"application": application, "members": [], "fitted": "", "created_at": moment, "version": 1}
    known = [
        ("old", "", "current"),
        ("older", "", "proposed"),
        ("new", "", "proposed"),
        ("part", "template=a", "proposed"),
    ]
    store.insert(
        "references",
        [row | {"reference_id": one, "segment": segment, "status": status} for one, segment, status in known],
    )

    async def steps(handlers: dict[str, Any], *_: object) -> None:
        topic = Topic(COMMANDS)
        for one in ("part", "new"):
            command = PromoteReference(application=application, reference_id=one, actor="ann", given_at=moment)
            await handlers[COMMANDS]([topic.record(command)])

    respond(store, bootstrap, tmp_path, steps, [])
    assert [each.reference_id for each in answers(bootstrap, application)] == ["new"]
    rows = store.query("SELECT reference_id, status FROM references FINAL")
    assert {each["reference_id"]: each["status"] for each in rows} == {
        "old": "superseded",
        "older": "superseded",
        "new": "current",
        "part": "proposed",
    }
