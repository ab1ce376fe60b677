from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.incidents import (
    Incident,
    LatestRun,
    Notify,
    Rearm,
    Retrain,
    RetrainingPolicy,
    RunPlan,
    Skip,
    concerned,
    on_command,
    on_page,
    retraining_decision,
    with_report,
)
from streams.core.wording import headline, notification_text
from tocsin.messages import Acknowledge, Effect, Moved, Page, Resolve, SegmentEvidence, VersionShift

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def page(page_id: str = "p1", application: str = "support-bot", minute: int = 0, **fields: object) -> Page:
    return Page.model_validate(
        {
            "page_id": page_id,
            "application": application,
            "stream": "prompt",
            "lane": "look 64",
            "reference_id": "r1",
            "position": 300,
            "interaction_id": "i1",
            "occurred_at": NOON + timedelta(minutes=minute),
            "began_at": NOON + timedelta(minutes=minute - 30),
            "units_since_beginning": 64,
            "evidence": 1.2,
            "threshold": 0.04,
            "share": 0.3,
            "effect": Effect(quantity="distance", before=0.1, now=0.4, low=0.35, high=0.45, units=64),
            "configuration": "c0ffee",
            **fields,
        }
    )


def opened(**fields: object) -> Incident:
    incident = on_page(None, page(**fields)).incident  # type: ignore[arg-type]
    assert incident is not None
    return incident


def acknowledge(incident: Incident, minute: int = 5) -> Acknowledge:
    return Acknowledge(incident_id=incident.incident_id, actor="ada", given_at=NOON + timedelta(minutes=minute))


def resolve(incident: Incident, minute: int = 9) -> Resolve:
    at = NOON + timedelta(minutes=minute)
    return Resolve(incident_id=incident.incident_id, actor="ada", given_at=at, note="rolled back")


def test_a_first_page_opens_an_incident_that_tells_people_and_asks_for_a_run() -> None:
    decision = on_page(None, page())
    assert decision.incident is not None
    assert decision.incident.state == "firing"
    assert decision.incident.title == "support-bot: what people ask has changed (prompt embeddings)"
    assert decision.actions == (Notify(page()), Retrain(decision.incident.incident_id))
    assert [event.kind for event in decision.events] == ["page"]


def test_a_second_page_joins_and_the_beginning_stays_that_of_the_page_that_people_were_told_of() -> None:
    second = page("p2", minute=3, stream="response", began_at=NOON - timedelta(hours=2))
    decision = on_page(opened(), second)
    assert decision.incident is not None
    assert decision.incident.page_ids == ("p1", "p2")
    assert decision.incident.streams == ("prompt", "response")
    assert decision.incident.began_at == page().began_at
    assert decision.incident.opened_at == NOON
    assert decision.incident.version == 2


def test_a_page_that_comes_again_does_nothing_and_says_why() -> None:
    decision = on_page(opened(), page())
    assert (decision.incident, decision.events, decision.actions) == (None, (), ())
    assert decision.reason == "the incident holds this page already"


def test_a_page_after_the_end_opens_a_new_incident_and_its_own_copy_does_not() -> None:
    resolved = on_command(opened(), resolve(opened())).incident
    assert resolved is not None
    assert concerned([resolved], page()) == resolved
    assert on_page(resolved, page()).incident is None
    later = on_page(concerned([resolved], page("p2")), page("p2")).incident
    assert later is not None
    assert later.incident_id != resolved.incident_id


def test_a_page_of_another_application_never_joins() -> None:
    assert concerned([opened()], page("p2", "search")) is None
    other = on_page(opened(), page("p2", "search")).incident
    assert other is not None
    assert other.page_ids == ("p2",)


def test_an_acknowledged_incident_is_resolved_once_and_rearms_once() -> None:
    first = opened()
    seen = on_command(first, acknowledge(first)).incident
    assert seen is not None
    assert seen.state == "acknowledged"
    done = on_command(seen, resolve(first))
    assert done.incident is not None
    assert done.incident.state == "resolved"
    assert done.actions == (Rearm("support-bot", first.incident_id),)
    assert done.events[0].detail == "rolled back"
    for command in (resolve(first), acknowledge(first)):
        again = on_command(done.incident, command)
        assert (again.incident, again.actions, again.reason) == (None, (), "the incident is resolved already")


def test_a_command_for_an_unknown_incident_is_ignored_with_a_reason() -> None:
    assert on_command(None, acknowledge(opened())).reason == "there is no such incident"
    assert on_command(opened(page_id="p9"), acknowledge(opened())).reason == "there is no such incident"


def test_a_limit_that_a_person_set_starts_no_retraining() -> None:
    assert [type(action) for action in on_page(None, page().model_copy(update={"lane": "rule"})).actions] == [Notify]


POLICY = RetrainingPolicy("command", timedelta(hours=24))


def test_a_run_has_the_same_id_whenever_it_is_planned() -> None:
    plan = retraining_decision(POLICY, opened(), None, NOON)
    assert isinstance(plan, RunPlan)
    assert plan == retraining_decision(POLICY, opened(), None, NOON + timedelta(days=1))
    other = retraining_decision(RetrainingPolicy("webhook", timedelta()), opened(), None, NOON)
    assert isinstance(other, RunPlan)
    assert other.run_id != plan.run_id


def test_a_run_is_skipped_for_each_reason() -> None:
    plan = retraining_decision(POLICY, opened(), None, NOON)
    assert isinstance(plan, RunPlan)
    resolved = on_command(opened(), resolve(opened())).incident
    assert resolved is not None
    cases = {
        "no retraining target": (RetrainingPolicy("none", timedelta()), opened(), None),
        "is resolved": (POLICY, resolved, None),
        "has its run": (POLICY, opened(), LatestRun(plan.run_id, NOON - timedelta(days=9), is_open=False)),
        "still open": (POLICY, opened(), LatestRun("other", NOON - timedelta(days=9), is_open=True)),
        "cooldown until 2025-03-01 13:00": (
            POLICY,
            opened(),
            LatestRun("other", NOON - timedelta(hours=23), is_open=False),
        ),
    }
    for reason, (policy, incident, latest) in cases.items():
        skipped = retraining_decision(policy, incident, latest, NOON)
        assert isinstance(skipped, Skip)
        assert reason in skipped.reason
    ended = LatestRun("other", NOON - timedelta(hours=24), is_open=False)
    assert isinstance(retraining_decision(POLICY, opened(), ended, NOON), RunPlan)


def test_the_notification_answers_what_a_person_asks_at_night() -> None:
    paged = page(
        moved=[Moved(stream="response", evidence=0.6), Moved(stream="language", evidence=0.9)],
        versions=[VersionShift(field="model.version", value="2", share_before=0, share_now=1)],
    )
    title, body = notification_text(opened(), [paged], 0, "https://tocsin.example/")
    assert title == "support-bot: what people ask has changed (prompt embeddings)"
    for fact in (
        "about 2025-03-01 11:30 UTC; paged 2025-03-01 12:00 UTC, 64 units later",
        "distance 0.1 → 0.4 (95% interval 0.35 to 0.45, 64 units)",
        "about 30% of it is affected",
        "language (evidence 0.9), response (evidence 0.6)",
        "model.version 2: 0% → 100% of traffic",
        "1.2, where 1 is a page",
        f"https://tocsin.example/incidents/{opened().incident_id}\n",
        f"https://tocsin.example/incidents/{opened().incident_id}/report",
    ):
        assert fact in body
    assert body.splitlines()[-2:] == ["page: p1", f"incident: {opened().incident_id}"]


def test_a_message_says_the_strongest_whole_and_a_line_about_the_others_and_lists_every_id() -> None:
    rose = Effect(quantity="mean", before=0.1, now=0.4, units=64)
    pages = [
        page("p1", segment="attribute region=eu", evidence=9),
        page("p2", stream="response"),
        page("p3", stream="prompt.toxicity", evidence=3, effect=rose, moved=[Moved(stream="response", evidence=0.9)]),
    ]
    title, body = notification_text(opened(), pages, 0, "https://tocsin.example")
    assert title == "support-bot: toxicity of prompts has risen, and 2 more changes"
    assert "Also moved" not in body, "what is told anyway"
    listed = [line for line in body.splitlines() if line.startswith("- ")]
    assert listed == [
        "- what the model answers has changed (response embeddings): distance 0.1 → 0.4",
        "- region=eu: what people ask has changed (prompt embeddings): distance 0.1 → 0.4",
    ]
    assert body.splitlines()[-4:] == ["page: p3", "page: p2", "page: p1", f"incident: {opened().incident_id}"]
    assert notification_text(opened(), pages[::-1], 0, "https://tocsin.example") == (title, body)


def test_a_message_that_follows_says_which_incident_goes_on() -> None:
    title, body = notification_text(opened(), [page("p2", stream="response")], 4, "")
    short = opened().incident_id[:8]
    assert title == f"support-bot: 1 more change in incident {short}: what the model answers has changed " + (
        "(response embeddings)"
    )
    assert body.startswith(f"Goes on:    {opened().title}; 4 changes told before\nWhat moved: response, ")
    several = notification_text(opened(), [page("p2"), page("p3")], 1, "")
    assert several[0].startswith(f"support-bot: 2 more changes in incident {short}: ")
    assert "; 1 change told before" in several[1]


def test_a_message_about_very_many_pages_stays_short_and_has_every_id() -> None:
    pages = [page(f"p{number}", stream="s" * 100) for number in range(100)]
    _, body = notification_text(opened(), pages, 0, "https://tocsin.example")
    assert "- and 89 more: see the incident" in body
    assert sum(line.startswith("page: ") for line in body.splitlines()) == 100
    assert len(body) < 10_000


def line(label: str, **fields: object) -> str:
    """What a notification says under a label; nothing if it has no such line."""
    _, body = notification_text(opened(), [page(**fields)], 0, "")  # type: ignore[arg-type]
    return next((text.partition(":")[2].strip() for text in body.splitlines() if text.startswith(label)), "")


def test_a_notification_says_who_changed_and_the_timeline_how_that_was_seen_then() -> None:
    said = {verdict: line("Who", attribution=verdict) for verdict in ("users", "model", "both", "unclear")}
    assert said["users"] == "users ask other things; no change was found in how like questions are answered"
    assert said["model"] == "users ask as before; the model answers differently"
    assert len(set(said.values())) == 4
    assert line("Who") == "", "a page of a former version says nothing of it"
    decision = on_page(opened(), page("p2", attribution="model"))
    assert decision.events[0].detail == f"{opened().title}; {said['model']}"


def test_a_headline_about_answers_does_not_blame_the_model_where_the_users_changed() -> None:
    users, model = (headline(page(stream="response", attribution=who)) for who in ("users", "model"))
    assert users == "support-bot: answers have changed with what people ask (response embeddings)"
    assert model == "support-bot: what the model answers has changed (response embeddings)"


def test_a_notification_names_the_segments_that_carry_the_change() -> None:
    def evidence(**values: float) -> list[SegmentEvidence]:
        named = [SegmentEvidence(segment=f"attribute region={name}", evidence=value) for name, value in values.items()]
        return [SegmentEvidence(segment="", evidence=1.0), *named]

    assert line("Where") == line("Where", segments=evidence()) == ""
    assert line("Where", segments=evidence(eu=0.8, us=0.01)) == "only region=eu (evidence 0.8); 1 other did not move"
    assert line("Where", segments=evidence(eu=0.2, us=0.9)) == "region=us (evidence 0.9), region=eu (evidence 0.2)"
    assert (
        line("Where", segments=evidence(eu=0.01, us=0.01)) == "everywhere a little: none of 2 segments shows it alone"
    )
    many = line("Where", segments=evidence(**{f"r{n}": 0.5 for n in range(8)}))
    assert many.startswith("region=r0 ") and many.endswith("3 more")


def test_the_page_of_a_segment_says_so_in_its_title() -> None:
    assert opened(segment="attribute region=eu").title == (
        "support-bot, region=eu: what people ask has changed (prompt embeddings)"
    )


def test_figures_are_said_in_everyday_words_where_they_need_them() -> None:
    def size(quantity: str, before: float, now: float) -> str:
        return line("How big", effect=Effect(quantity=quantity, before=before, now=now, units=64)).partition("; ")[2]

    shift = "shift along the direction of change, in standard deviations of the reference"
    assert size(shift, 0, 1) == "half of the traffic lies beyond 84% of the reference"
    assert size("rate of error", 0.01, 0.2) == "1 in 100 became 1 in 5"
    assert size("rate of error", 0, 0.2) == size("rate of refusal", 0.4, 0.9) == "", "no such words for these"
    assert size("mean of latency_ms", 200, 300) == "+50%"
    assert size("share of high values of cost", 0.05, 0.2) == size("mean of relevance", -0.1, 0.2) == ""


def test_signals_are_named_by_what_they_measure_and_where_they_went() -> None:
    fell = Effect(quantity="mean", before=0.9, now=0.2, units=10)
    rose = Effect(quantity="mean", before=100, now=900, units=10)
    same = Effect(quantity="mean", before=1, now=1, units=10)
    for stream, effect, words in (
        ("prompt.toxicity", rose, "toxicity of prompts has risen"),
        ("relevance", fell, "relevance has fallen"),
        ("latency_ms", rose, "latency has risen"),
        ("repeat_rate", same, "repeat rate has changed"),
    ):
        assert opened(stream=stream, effect=effect).title == f"support-bot: {words}"


def test_a_name_with_line_breaks_cannot_forge_an_id_line() -> None:
    shift = VersionShift(field="tenant", value="x\npage: forged", share_before=0, share_now=1)
    _, body = notification_text(opened(), [page(versions=[shift])], 0, "")
    assert [line for line in body.splitlines() if line.startswith("page:")] == ["page: p1"]
    assert "http" not in body


def test_a_report_is_a_new_version_of_its_incident() -> None:
    assert with_report(opened(), "r.html").report == "r.html"
    assert with_report(opened(), "r.html").version == 2


class Room:
    """The respond stage in memory: remembers incidents and what was done, by deterministic id."""

    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}
        self.events: set[str] = set()
        self.told: list[str] = []
        self.rearmed: list[str] = []

    def receive(self, message: Page | Acknowledge | Resolve) -> None:
        if isinstance(message, Page):
            decision = on_page(concerned(self.incidents.values(), message), message)
        else:
            decision = on_command(self.incidents.get(message.incident_id), message)
        if decision.incident is not None:
            self.incidents[decision.incident.incident_id] = decision.incident
        self.events |= {event.event_id for event in decision.events}
        self.told += [action.page.page_id for action in decision.actions if isinstance(action, Notify)]
        self.rearmed += [action.incident_id for action in decision.actions if isinstance(action, Rearm)]


@st.composite
def histories(draw: st.DrawFn) -> list[Page | Acknowledge | Resolve]:
    """Pages of few applications, and commands for incidents that exist by then."""
    room, history = Room(), list[Page | Acknowledge | Resolve]()
    answers: list[Callable[[Incident, int], Acknowledge | Resolve]] = [acknowledge, resolve]
    for minute in range(draw(st.integers(1, 15))):
        message: Page | Acknowledge | Resolve
        if bool(room.incidents) and draw(st.booleans()):
            incident = draw(st.sampled_from(sorted(room.incidents.values(), key=lambda found: found.incident_id)))
            message = draw(st.sampled_from(answers))(incident, minute)
        else:
            message = page(f"p{draw(st.integers(0, 9))}", draw(st.sampled_from(["a", "b"])), minute)
            message = message.model_copy(update={"page_id": f"{message.application}-{message.page_id}"})
        room.receive(message)
        history.append(message)
    return history


@settings(deadline=None)
@given(histories(), st.data())
def test_messages_that_come_again_at_any_later_time_change_nothing(
    history: list[Page | Acknowledge | Resolve], data: st.DataObject
) -> None:
    once, repeated = Room(), Room()
    for index, message in enumerate(history):
        once.receive(message)
        repeated.receive(message)
        for again in data.draw(st.lists(st.sampled_from(history[: index + 1]), max_size=4)):
            repeated.receive(again)
    for message in history:
        repeated.receive(message)
    assert vars(repeated) == vars(once)


@settings(deadline=None)
@given(histories())
def test_no_page_is_lost_and_each_is_told_once_in_one_incident(history: list[Page | Acknowledge | Resolve]) -> None:
    room = Room()
    for message in history:
        room.receive(message)
    paged = {message.page_id for message in history if isinstance(message, Page)}
    held = [page_id for incident in room.incidents.values() for page_id in incident.page_ids]
    assert sorted(held) == sorted(room.told) == sorted(paged)
    assert len(room.events) >= len(paged)
    unresolved = [incident.application for incident in room.incidents.values() if incident.state != "resolved"]
    assert len(unresolved) == len(set(unresolved))
    resolved = [incident.incident_id for incident in room.incidents.values() if incident.state == "resolved"]
    assert sorted(room.rearmed) == sorted(resolved)
