"""A made-up installation in a real store, and the pages over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.testclient import TestClient

from dashboards.web import create_pages
from sinks.queries import Queries
from streams.access import Csrf, PageAccess, checked_form
from streams.settings import Settings
from tocsin.messages import (
    ClusterShift,
    Command,
    Effect,
    Exemplar,
    Moved,
    Page,
    SegmentEvidence,
    VersionShift,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


class Store(Protocol):
    """What these tests use of a store."""

    def insert(self, table: str, rows: Sequence[Mapping[str, object]], token: str = "") -> None: ...

    def query(self, sql: str, parameters: Mapping[str, Any] = ...) -> list[dict[str, Any]]: ...


@dataclass
class Counted:
    """A store that counts what is asked of it."""

    store: Store
    asked: list[str] = field(default_factory=list)

    def query(self, sql: str, parameters: Mapping[str, Any] = {}) -> list[dict[str, Any]]:
        self.asked.append(sql)
        return self.store.query(sql, parameters)


@dataclass
class Installation:
    """Writes what the stages would have written."""

    store: Store
    counted: Counted
    client: TestClient
    commands: list[Command]
    report_directory: Path

    def traffic(self, application: str, interactions: int = 48, version: str = "v1", text: str = "hello") -> list[str]:
        """Interactions over the last day; returns their ids."""
        ids = [f"{application[:60]}-{version}-{n}" for n in range(interactions)]
        self.store.insert(
            "interactions",
            [
                {
                    "application": application,
                    "interaction_id": one,
                    "occurred_at": NOW - timedelta(minutes=30 * (n % 48) + 1),
                    "prompt": text,
                    "response": text,
                    "model_name": "llama",
                    "model_version": version,
                    "error": "timeout" if n == 3 else "",
                    "retention_days": 3650,
                }
                for n, one in enumerate(ids)
            ],
        )
        return ids

    def evidence(
        self, application: str, stream: str, values: Sequence[float], units: int = 10, segment: str = ""
    ) -> None:
        """One value every five minutes until now, `units` after each more."""
        self.store.insert(
            "evidence",
            [
                {
                    "application": application,
                    "segment": segment,
                    "stream": stream,
                    "occurred_at": NOW - timedelta(minutes=5 * (len(values) - 1 - n)),
                    "units": units * (n + 1),
                    "evidence": value,
                    "latched": int(value >= 1),
                }
                for n, value in enumerate(values)
            ],
        )

    def reference(self, application: str, status: str = "current", reference_id: str = "r1") -> None:
        """A reference of 2,500 units."""
        row = {"reference_id": reference_id, "application": application, "status": status, "units": 2500, "version": 1}
        moments = dict.fromkeys(("created_at", "first_at", "last_at"), NOW - timedelta(days=1))
        self.store.insert("references", [row | moments | {"model_version": "v2"}])

    def incident(self, application: str, incident_id: str = "inc-1", **overrides: object) -> Page:
        """A firing incident of one page about prompts, with everything around it."""
        page = self.page(application, f"page-{incident_id}")
        row: dict[str, object] = {
            "incident_id": incident_id,
            "application": application,
            "state": "firing",
            "opened_at": page.occurred_at,
            "began_at": page.began_at,
            "updated_at": page.occurred_at,
            "title": f"{application}: what people ask has changed",
            "page_ids": [page.page_id],
            "streams": ["prompt"],
            "report": "",
            "version": 1,
        }
        self.store.insert("incidents", [row | overrides])
        return page

    def page(self, application: str, page_id: str, **explained: object) -> Page:
        """A stored page about prompts, or about what `explained` says."""
        page = Page(
            page_id=page_id,
            application=application,
            stream="prompt",
            lane="look 64",
            reference_id="r1",
            position=640,
            interaction_id="x",
            occurred_at=NOW - timedelta(minutes=20),
            began_at=NOW - timedelta(hours=1),
            units_since_beginning=64,
            evidence=1.2,
            threshold=0.001,
            share=0.23,
            effect=Effect(quantity="distance", before=0.02, now=0.31, low=0.25, high=0.37, units=64),
            exemplars=[Exemplar(interaction_id=f"{application[:60]}-v2-{n}", score=9 - n) for n in range(2)],
            ordinary=[Exemplar(interaction_id=f"{application[:60]}-v1-{n}", score=0) for n in (0, 99)],
            moved=[Moved(stream="prompt.toxicity", evidence=0.4), Moved(stream="latency_ms", evidence=0.001)],
            versions=[VersionShift(field="model", value="v2", share_before=0, share_now=1)],
            clusters=[
                ClusterShift(cluster=3, share_before=0.01, share_now=0.2, interaction_id=f"{application[:60]}-v2-0"),
                ClusterShift(cluster=7, share_before=0.1, share_now=0.0),
            ],
            segments=[
                SegmentEvidence(segment="", evidence=1.0),
                SegmentEvidence(segment="attribute region=us", evidence=0.01),
                SegmentEvidence(segment="attribute region=eu", evidence=0.8),
            ],
            attribution="users",
            configuration="abc",
        )
        page = page.model_copy(update=explained)
        stored = page.model_dump(include={"page_id", "application", "stream", "lane", "reference_id", "position"})
        moments = {"occurred_at": page.occurred_at, "began_at": page.began_at}
        explanation = {"evidence": page.evidence, "explanation": page.model_dump_json()}
        self.store.insert("pages", [stored | moments | explanation])
        return page


@pytest.fixture
def installation(store: Store, tmp_path: Path) -> Iterator[Installation]:
    """An empty installation, with a client that knows no login."""
    commands: list[Command] = []
    counted = Counted(store)

    async def send(command: Command) -> None:
        commands.append(command)

    csrf, seconds = Csrf(b"secret"), NOW.timestamp()
    pages = create_pages(
        Queries(counted),
        send_command=send,
        form_token=lambda request: csrf.token(request.state.user, seconds),
        read_form=lambda request: checked_form(request, csrf, seconds),
        report_directory=tmp_path,
        pages_per_30_days=1,
        groupings=("attribute tenant",),
        now=lambda: NOW,
    )
    with TestClient(PageAccess(pages, Settings.model_validate({})), base_url="http://127.0.0.1") as client:
        yield Installation(store, counted, client, commands, tmp_path)


@pytest.fixture
def form_token(installation: Installation) -> Callable[[str], str]:
    """The form token that a page carries."""

    def read(address: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', installation.client.get(address).text)
        assert found, "the page has no form"
        return found[1]

    return read


@pytest.fixture
def attack() -> str:
    """What a hostile service could put into any text."""
    return ATTACK
