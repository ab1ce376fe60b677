"""The pages over a real store: what they answer, and what a hostile service cannot do to them."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from dashboards.web.headers import PAGE_POLICY
from tocsin.messages import Acknowledge, Moved, PromoteReference, ProposeReference, Resolve

if TYPE_CHECKING:
    Installation = Any  # the class of the fixture in conftest.py, which importlib mode does not let us import

MOMENT = datetime(2026, 11, 20, 11, tzinfo=UTC)
ORIGIN = {"Origin": "http://127.0.0.1"}


def test_an_empty_installation_teaches_the_first_call(installation: Installation) -> None:
    page = installation.client.get("/")
    assert page.status_code == 200
    assert "No traffic yet" in page.text
    assert "tocsin.Client(&#34;my-app&#34;, url=&#34;http://127.0.0.1&#34;)" in page.text.replace('"', "&#34;")


def test_a_learning_application_says_how_many_units_are_missing(installation: Installation) -> None:
    installation.traffic("bot")
    installation.evidence("bot", "learning", [0.1, 0.2], units=250)
    overview = installation.client.get("/").text
    for page in (overview, installation.client.get("/applications/bot").text):
        assert "learning" in page and "500 of 2\u202f500" in page and "2\u202f000 units missing" in page
    assert "Nothing needs you" in overview


def test_an_application_that_has_just_begun_says_so_until_it_is_watched(installation: Installation) -> None:
    installation.traffic("bot")
    for address in ("/", "/applications/bot"):
        assert "just begun; sessions count once" in installation.client.get(address).text
    installation.evidence("bot", "learning", [1.0], units=2500)
    installation.reference("bot")
    assert "learning" not in installation.client.get("/applications/bot").text


def test_traffic_of_one_step_is_one_bar_and_little_traffic_is_not_none(installation: Installation) -> None:
    def bars() -> list[int]:
        (path,) = re.findall(r'<path d="M0 20([^"]*)V20Z"', installation.client.get("/").text)
        return [20 - int(top) for top in re.findall(r"V(\d+)H", path)]

    installation.traffic("bot", 1)
    assert bars() == [0] * 47 + [20]
    row = {"application": "bot", "occurred_at": MOMENT, "retention_days": 3650}
    installation.store.insert("interactions", [row | {"interaction_id": f"more-{n}"} for n in range(99)])
    assert sorted(bars()) == [0] * 46 + [1, 20]


def test_the_overview_puts_incidents_first_and_the_most_evidence_beside_them(installation: Installation) -> None:
    for name in ("aaa-quiet", "zzz-broken"):
        installation.traffic(name)
        installation.reference(name)
        for place, stream in enumerate(("prompt", "response", "relevance", "latency_ms")):
            installation.evidence(name, stream, [0.0, 0.1 * place])
    installation.incident("zzz-broken")
    page = installation.client.get("/").text
    assert "1 incident needs you" in page
    assert page.index("zzz-broken") < page.index("aaa-quiet")
    row = page[page.index("aaa-quiet") :]
    assert row.index("latency") < row.index("relevance of responses") < row.index("what the model answers")
    assert "what people ask" not in row
    assert "1 page in the last 30 days" in page


def test_the_filter_hides_rows_but_not_what_needs_somebody(installation: Installation) -> None:
    installation.traffic("alpha")
    installation.traffic("beta")
    installation.incident("beta")
    page = installation.client.get("/", params={"q": "ALPH"}).text
    assert "/applications/alpha" in page and "/applications/beta" not in page
    assert "1 incident needs you" in page


def test_two_hundred_applications_take_as_many_queries_as_one(installation: Installation) -> None:
    def queries() -> int:
        installation.counted.asked.clear()
        assert installation.client.get("/").status_code == 200
        return len(installation.counted.asked)

    installation.traffic("one", 2)
    alone = queries()
    moments = {"occurred_at": MOMENT, "retention_days": 3650}
    rows = [{"application": f"team/{number}", "interaction_id": str(number)} | moments for number in range(199)]
    installation.store.insert("interactions", rows)
    page = installation.client.get("/").text
    assert "200 of 200 applications" in page
    assert queries() == alone


def test_a_ledger_with_a_hole_is_shouted(installation: Installation) -> None:
    row = {"topic": "tocsin.interactions", "source_partition": 0, "dead_lettered": 0, "duplicate": 0}
    installation.store.insert("ledger", [row | {"first_offset": 0, "next_offset": 10, "stored": 10}])
    installation.traffic("bot")
    assert "ledger exact" in installation.client.get("/").text
    installation.store.insert("ledger", [row | {"first_offset": 15, "next_offset": 20, "stored": 5}])
    page = installation.client.get("/").text
    assert "ledger not exact: 5 missing" in page and "The pipeline has lost messages" in page


def test_an_incident_says_what_changed_since_when_and_how_big(installation: Installation) -> None:
    installation.traffic("bot", text="an ordinary question")
    installation.traffic("bot", 4, "v2", text="a strange question")
    installation.incident("bot")
    page = re.sub("[\n ]+", " ", installation.client.get("/incidents/inc-1").text)
    assert "What people ask has changed in about 23\u202f% of traffic, since about" in page
    assert "0.02 → 0.31 (×15.5), 95 % interval 0.25 to 0.37" in page
    assert "Toxicity of prompts" in page and "1 stream did not move" in page
    assert page.index("a strange question") < page.index("an ordinary question")
    assert "No longer kept: <code>bot-v1-99</code>" in page
    assert 'datetime="2026-11-20T11:00:00+00:00"' in page


def test_an_incident_says_who_changed_where_and_in_which_topics(installation: Installation) -> None:
    installation.traffic("bot", 4, "v2", text="a strange question")
    installation.incident("bot")
    page = re.sub("[\n ]+", " ", installation.client.get("/incidents/inc-1").text)
    assert "Users ask other things; no change was found in how like questions are answered." in page
    assert "Only in region=eu; not in 1 other segment." in page
    topics = page[page.index('id="topics"') : page.index('id="segments"')]
    assert topics.index("a strange question") < topics.index("1.0\u202f%") < topics.index("20\u202f%")
    assert topics.index("nothing like it now") < topics.index("10\u202f%") < topics.index(">0\u202f%")
    segments = page[page.index('id="segments"') :]
    assert segments.index("All traffic") < segments.index("region=eu") < segments.index("region=us")


def test_the_latest_clear_word_on_who_changed_is_the_one_that_counts(installation: Installation) -> None:
    for place, verdict in enumerate(("model", "both", "unclear")):
        installation.page("bot", f"p{place}", attribution=verdict)
    installation.incident("bot", page_ids=["p0", "p1", "p2"])
    assert "answered differently too" in installation.client.get("/incidents/inc-1").text
    installation.incident("bot", "inc-2", page_ids=["p2"])
    assert "Not clear yet whether users or the model changed." in installation.client.get("/incidents/inc-2").text
    installation.page("bot", "p9", attribution=None, segments=[], clusters=[])
    installation.incident("bot", "inc-3", page_ids=["p9"])
    page = installation.client.get("/incidents/inc-3").text
    assert 'id="who"' not in page and "By segment" not in page and "Topics" not in page


def test_the_incident_of_a_segment_shows_the_evidence_there(installation: Installation) -> None:
    installation.evidence("bot", "prompt", [0.1, 0.1])
    installation.evidence("bot", "prompt", [0.5, 1.0], segment="attribute region=eu")
    installation.page("bot", "p1", segment="attribute region=eu")
    installation.incident("bot", page_ids=["p1"])
    page = installation.client.get("/incidents/inc-1").text
    assert "What people ask has changed in region=eu" in page and "How near to a page in <bdi>region=eu</bdi>" in page
    (address,) = set(re.findall(r'data-series="([^"]+)"', page))
    series = installation.client.get(html.unescape(address)).json()
    assert [one["evidence"] for one in series["streams"]] == [[0.5, 1.0]]
    whole = installation.client.get("/series/evidence.json", params={"application": "bot"}).json()
    assert [one["evidence"] for one in whole["streams"]] == [[0.1, 0.1]]


def test_a_stream_that_paged_in_the_same_incident_is_not_among_those_that_did_not_move(
    installation: Installation,
) -> None:
    installation.page("bot", "p1", moved=[Moved(stream=name, evidence=0) for name in ("latency_ms", "cost")])
    installation.page("bot", "p2", stream="latency_ms", evidence=1e6)
    installation.incident("bot", page_ids=["p1", "p2"], streams=["prompt", "latency_ms"])
    page = re.sub("[\n ]+", " ", installation.client.get("/incidents/inc-1").text)
    moved = page[page.index('id="moved"') : page.index('id="still"')]
    still = page[page.index('id="still"') : page.index("Deployments and groups")]
    assert "Latency" in moved and "paged too" in moved and "Nothing else" not in moved
    assert "1 stream did not move" in still and "Cost" in still and "Latency" not in still
    assert "1\u202f000\u202f000" in page and "1.2 times what a page needs" in page


def test_an_incident_whose_page_has_gone_still_shows(installation: Installation) -> None:
    installation.incident("bot", page_ids=[])
    assert "no longer kept" in installation.client.get("/incidents/inc-1").text


@pytest.mark.parametrize(
    "address",
    [
        "/incidents/nobody",
        "/incidents/nobody/report",
        "/applications/nobody",
        "/fairness/nobody",
        "/quality/nobody",
        "/nothing",
    ],
)
def test_what_is_not_there_is_a_page_with_404(installation: Installation, address: str) -> None:
    answer = installation.client.get(address)
    assert answer.status_code == 404
    assert "<h1>" in answer.text


def test_acknowledging_and_resolving_send_commands(
    installation: Installation, form_token: Callable[[str], str]
) -> None:
    installation.incident("bot")
    fields = {"csrf": form_token("/incidents/inc-1"), "note": "a bad deployment"}
    for action, sent in (("acknowledge", "acknowledge"), ("accept", "propose"), ("resolve", "resolve")):
        answer = installation.client.post(
            f"/incidents/inc-1/{action}", data=fields, headers=ORIGIN, follow_redirects=False
        )
        assert (answer.status_code, answer.headers["location"]) == (303, f"/incidents/inc-1?sent={sent}")
    acknowledged, accepted, resolved = installation.commands
    assert isinstance(acknowledged, Acknowledge) and acknowledged.incident_id == "inc-1"
    assert isinstance(accepted, ProposeReference) and accepted.application == "bot"
    assert isinstance(resolved, Resolve) and resolved.note == "a bad deployment" and resolved.actor == "local"
    assert "Sent;" in installation.client.get("/incidents/inc-1?sent=resolve").text


def test_promoting_needs_a_proposed_reference(installation: Installation, form_token: Callable[[str], str]) -> None:
    installation.reference("bot", "current", "old")
    installation.reference("bot", "proposed", "new")
    csrf = form_token("/")
    for reference, status in (("new", 303), ("old", 404), ("nothing", 404)):
        fields = {"csrf": csrf, "reference_id": reference}
        answer = installation.client.post("/references/promote", data=fields, headers=ORIGIN, follow_redirects=False)
        assert answer.status_code == status
    (command,) = installation.commands
    assert isinstance(command, PromoteReference)
    assert (command.application, command.reference_id) == ("bot", "new")


@pytest.mark.parametrize("action", ["acknowledge", "resolve", "accept"])
@pytest.mark.parametrize(("csrf", "headers"), [("forged", ORIGIN), (None, {"Origin": "http://evil.example"})])
def test_a_forged_form_does_nothing(
    action: str, installation: Installation, form_token: Callable[[str], str], csrf: str | None, headers: dict[str, str]
) -> None:
    installation.incident("bot")
    fields = {"csrf": csrf or form_token("/incidents/inc-1")}
    answer = installation.client.post(f"/incidents/inc-1/{action}", data=fields, headers=headers)
    assert answer.status_code == 403
    assert installation.commands == []


def test_hostile_texts_are_escaped_everywhere(installation: Installation, attack: str) -> None:
    name = f"bot {attack}"
    installation.traffic(name, text=attack)
    installation.traffic(name, 2, "v2", text=attack * 12)
    installation.evidence(name, f"prompt.{attack}", [0.5, 0.9])
    installation.reference(name, "proposed", attack)
    installation.incident(name, title=attack)
    event = {"incident_id": "inc-1", "event_id": "1", "happened_at": MOMENT}
    installation.store.insert("incident_events", [event | {"kind": attack, "actor": attack, "detail": attack}])
    overview = installation.client.get("/")
    (address,) = set(re.findall(r'href="(/applications/[^"?]+)', overview.text))
    for answer in (
        overview,
        installation.client.get(address),
        installation.client.get("/incidents/inc-1"),
        installation.client.get("/series/evidence.svg", params={"application": name}),
        installation.client.get("/", params={"q": attack}),
        installation.client.get(f"/{attack}"),
    ):
        assert answer.status_code in (200, 404)
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text


def test_contents_are_never_in_titles_or_addresses(installation: Installation) -> None:
    installation.traffic("bot", text="a secret of mine")
    installation.traffic("bot", 2, "v2", text="a secret of mine")
    installation.incident("bot")
    page = installation.client.get("/incidents/inc-1").text
    assert "a secret of mine" in page
    for fragment in re.findall(r'<title>.*?</title>|(?:href|action|data-series|hx-get)="[^"]*"', page):
        assert "secret" not in fragment


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(installation: Installation) -> None:
    installation.traffic("bot")
    installation.evidence("bot", "prompt", [0.5, 0.9])
    installation.incident("bot")
    for address in ("/", "/incidents/inc-1", "/applications/bot", "/sql", "/nothing"):
        answer = installation.client.get(address)
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", answer.text)
        for link in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert link.startswith(("/", "#")) and not link.startswith("//")
    assert "unsafe" not in PAGE_POLICY


def test_every_static_file_that_a_page_names_is_there(installation: Installation) -> None:
    for link in re.findall(r'(?:src|href)="(/static/[^"]*)"', installation.client.get("/").text):
        assert installation.client.get(link).status_code == 200, link


def test_the_report_runs_in_an_origin_of_its_own(installation: Installation) -> None:
    (installation.report_directory / "inc-1.html").write_text("<h1>report</h1>")
    (installation.report_directory.parent / "outside.html").write_text("secret")
    installation.incident("bot", report="inc-1.html")
    installation.incident("bot", "inc-2", report="../outside.html")
    answer = installation.client.get("/incidents/inc-1/report")
    assert answer.text == "<h1>report</h1>"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;") and "allow-same-origin" not in policy
    assert installation.client.get("/incidents/inc-2/report").status_code == 404


def test_evidence_comes_as_json_csv_and_picture(installation: Installation) -> None:
    installation.evidence("bot", "prompt", [0.25, 0.5, 1.0])
    installation.evidence("bot", "relevance", [0.0, 0.0, 0.1])
    installation.evidence("bot", "learning", [0.5, 1.0])
    installation.incident("bot")
    series = installation.client.get("/series/evidence.json", params={"application": "bot", "range": "1h"}).json()
    assert [one["stream"] for one in series["streams"]] == ["prompt", "relevance"]
    assert series["streams"][0]["evidence"] == [0.25, 0.5, 1.0]
    assert {mark["kind"] for mark in series["marks"]} == {"began", "page"}
    one = installation.client.get("/series/evidence.csv", params={"application": "bot", "stream": "relevance"}).text
    rows = list(csv.DictReader(io.StringIO(one)))
    assert [float(row["evidence"]) for row in rows] == [0.0, 0.0, 0.1]
    assert rows[-1]["at"].endswith("+00:00")
    picture = installation.client.get("/series/evidence.svg", params={"application": "bot"})
    assert picture.headers["content-type"].startswith("image/svg+xml") and picture.text.count("<polyline") == 2


def test_the_last_value_is_a_dot_in_the_picture_so_that_a_single_one_is_seen(installation: Installation) -> None:
    installation.evidence("bot", "prompt", [0.5])
    picture = installation.client.get("/series/evidence.svg", params={"application": "bot"}).text
    line, dot = re.findall(r'points="([^"]*)"|<circle cx="([^"]*)" cy="([^"]*)"', picture)
    assert line[0] == f"{dot[1]},{dot[2]}"


@pytest.mark.parametrize(
    "query",
    [
        "since=x&until=y",
        "since=2026-11-20T00:00&until=2026-11-21T00:00",
        "since=2026-11-20T01:00Z&until=2026-11-20T00:00Z",
    ],
)
def test_a_range_that_makes_no_sense_is_400(installation: Installation, query: str) -> None:
    assert installation.client.get(f"/series/evidence.json?application=bot&{query}").status_code == 400


def test_a_name_that_looks_like_a_formula_stays_a_text_in_a_spreadsheet(installation: Installation) -> None:
    installation.traffic("=cmd|' /C calc'!A0")
    assert "'=cmd" in installation.client.get("/overview.csv").text
