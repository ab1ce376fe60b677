"""One application from its first message to its pages, however the messages are cut."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.drift import ReferenceRefused, to_arrays
from streams.core import snapshot as snapshots
from streams.core.budget import SECONDS, Budget
from streams.core.fitting import make_reference
from streams.core.monitor import LEARNING, SHOWN_EVERY, ApplicationMonitor, Event, Learned, Raised, Rules, Shown
from streams.core.reference import dump, load
from streams.core.units import to_unit
from tocsin.contracts import Model
from tocsin.messages import ACCEPTED, Page, Scored

HERE = frozenset({"shop"})
UNITS = 2_000
few = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


def fed(monitor: ApplicationMonitor, messages: list[Scored], cuts: list[int] | None = None) -> list[Event]:
    edges = [0, *sorted(cuts or []), len(messages)]
    events: list[Event] = []
    for start, stop in itertools.pairwise(edges):
        events += monitor.apply(messages[start:stop], HERE)
    return events


def pages(events: list[Event]) -> list[Page]:
    return [event.page for event in events if isinstance(event, Raised)]


def curve(events: list[Event]) -> list[Shown]:
    return [event for event in events if isinstance(event, Shown)]


def state_of(monitor: ApplicationMonitor) -> dict[str, bytes]:
    """Every bit of the streams' states."""
    return {
        name: array.tobytes()
        for stream, state in monitor.whole.states.items()
        for name, array in to_arrays(state, stream).items()
    }


def collect(monitor: ApplicationMonitor, messages: list[Scored]) -> None:
    """Let a proposal have these, without the cost of watching them all."""
    assert monitor.whole.candidate is not None
    for message in messages:
        monitor.whole.candidate.add(to_unit(message).with_signals({"prompt.repeat": 0.0, "response.repeat": 0.0}))


def restarted(monitor: ApplicationMonitor, rules: Rules, published: list[Scored]) -> ApplicationMonitor:
    """The monitor after a restart with these rules."""
    assert monitor.reference is not None
    units = {each.interaction_id: to_unit(each) for each in published}
    return snapshots.restore(
        snapshots.read(snapshots.dump(monitor)), rules, units, {monitor.reference.reference_id: monitor.reference}
    )


def learned_after(rules: Rules, messages: list[Scored], cuts: list[int]) -> tuple[int, str]:
    """How many units had come when the reference was made, and its id."""
    monitor = ApplicationMonitor("shop", rules)
    events = fed(monitor, messages, cuts)
    (learned,) = [event for event in events if isinstance(event, Learned)]
    return len(learned.reference.members), learned.reference.reference_id


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[1_999], [700, 2_001]])
def test_learning_ends_at_exactly_the_units_wanted(
    taught: ApplicationMonitor, traffic: Any, rules: Rules, cuts: list[int]
) -> None:
    units, reference_id = learned_after(rules, traffic(UNITS) + traffic(50, first=UNITS), cuts)
    assert taught.reference is not None
    assert (units, reference_id) == (UNITS, taught.reference.reference_id)


def test_repeats_and_later_turns_do_not_count_as_units_of_a_reference(traffic: Any, rules: Rules) -> None:
    messages = traffic(2_000)
    repeats = [each.model_copy(update={"interaction_id": f"r{i}"}) for i, each in enumerate(messages[:100])]
    turns = [each.model_copy(update={"session_id": "one"}) for each in traffic(50, first=5_000)]
    stream = messages[:100] + repeats + turns + messages[100:]
    units, _ = learned_after(rules, stream, [])
    assert units == 2_100, "the 100 repeats are kept for the response; of the session one turn counts"


def test_progress_is_shown_while_learning(traffic: Any, rules: Rules) -> None:
    shown = curve(ApplicationMonitor("shop", rules).apply(traffic(500), HERE))
    assert [(point.stream, point.units) for point in shown[:2]] == [(LEARNING, 32), (LEARNING, 64)]
    assert shown[-1].evidence == 480 / UNITS


def test_progress_is_shown_though_everything_has_happened_at_one_moment(traffic: Any, rules: Rules) -> None:
    moment = traffic(1)[0].occurred_at
    shown = curve(fed(ApplicationMonitor("shop", rules), traffic(100, occurred_at=moment)))
    assert [point.units for point in shown] == [32, 64, 96]


def test_another_encoder_begins_learning_anew(traffic: Any, rules: Rules) -> None:
    monitor = ApplicationMonitor("shop", rules)
    fed(monitor, traffic(1_500) + traffic(700, first=1_500, encoder="e2"))
    assert monitor.reference is None and monitor.whole.learning is not None
    assert [unit.encoder for unit in monitor.whole.learning.units] == 700 * ["e2"]


def test_a_stream_of_repeats_does_not_keep_the_other_streams_waiting_for_ever(traffic: Any, rules: Rules) -> None:
    (stuck,) = traffic(1)
    messages = [each.model_copy(update={"prompt_vector": stuck.prompt_vector}) for each in traffic(4 * UNITS, first=1)]
    monitor = ApplicationMonitor("shop", rules)
    fed(monitor, messages)
    assert monitor.reference is not None
    assert "prompt" not in monitor.reference.streams and "prompt" in monitor.reference.refused
    assert {"response", "length", "toxicity", "prompt.repeat", "response.repeat"} <= set(monitor.reference.streams)


def test_learning_on_demand_refuses_too_little(traffic: Any, rules: Rules) -> None:
    monitor = ApplicationMonitor("shop", rules)
    with pytest.raises(ReferenceRefused, match="no traffic"):
        monitor.learn_now(HERE)
    fed(monitor, traffic(300))
    with pytest.raises(ReferenceRefused, match="there are 300"):
        monitor.learn_now(HERE)


# -- watching ----------------------------------------------------------------------------------------------------------


@few
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_cutting_the_messages_anywhere_changes_neither_events_nor_states(
    taught: ApplicationMonitor, traffic: Any, cuts: list[int]
) -> None:
    messages = traffic(90, first=UNITS) + traffic(110, first=UNITS + 90, kind="new")
    whole, pieces = copy.deepcopy(taught), copy.deepcopy(taught)
    events = fed(whole, messages)
    assert fed(pieces, messages, cuts) == events
    assert state_of(pieces) == state_of(whole)
    assert [page.stream for page in pages(events)] == ["prompt"]


@few
@given(cuts=st.lists(st.integers(0, 120), max_size=8))
def test_messages_of_two_encoders_may_be_cut_anywhere(
    taught: ApplicationMonitor, traffic: Any, cuts: list[int]
) -> None:
    """A rolling deployment: one worker scores with the new encoder, the other still with the old one."""
    ours, foreign = traffic(120, first=UNITS), traffic(120, first=UNITS, encoder="e2")
    messages = [foreign[i] if i in (40, 41, 43, 77) or i > 100 else ours[i] for i in range(120)]
    whole, pieces = copy.deepcopy(taught), copy.deepcopy(taught)
    assert fed(whole, messages) == fed(pieces, messages, cuts)
    assert state_of(pieces) == state_of(whole)
    one, other = whole.whole.candidate, pieces.whole.candidate
    assert one is not None and other is not None
    assert [unit.interaction_id for unit in one.units] == [unit.interaction_id for unit in other.units]


def test_a_real_shift_pages_soon_and_says_where(monitor: ApplicationMonitor, traffic: Any) -> None:
    fed(monitor, traffic(300, first=UNITS))
    (page,) = pages(fed(monitor, traffic(200, first=UNITS + 300, kind="new", model=Model(name="m", version="2"))))
    assert (page.stream, page.application, page.configuration) == ("prompt", "shop", "hash")
    number = int(page.interaction_id[1:])
    assert UNITS + 300 <= number < UNITS + 400
    assert page.position == number - UNITS + 1
    assert abs(page.began_at.timestamp() - (monitor.clock - 60 * (UNITS + 499 - UNITS - 300))) < 60 * 100
    assert {shift.value for shift in page.versions} <= {"m 1", "m 2"}
    assert len(page.exemplars) == 7 and all(exemplar.interaction_id.startswith("i") for exemplar in page.exemplars)
    assert [moved.stream for moved in page.moved][:1] != ["prompt"]
    assert Page.model_validate_json(page.model_dump_json(exclude_none=True)) == page


def test_ordinary_traffic_under_a_tight_budget_does_not_page(traffic: Any, rules: Rules) -> None:
    tight = ApplicationMonitor("shop", replace(rules, budget=Budget(0.01)))
    assert pages(fed(tight, traffic(UNITS + 1_000))) == []
    assert tight.reference is not None


def test_without_segments_the_whole_has_all_of_the_applications_share_of_the_time_that_passed(
    monitor: ApplicationMonitor, traffic: Any, rules: Rules
) -> None:
    messages = traffic(50, first=UNITS)
    messages[20:25] = reversed(messages[20:25])
    for sharing, part in ((HERE, 1.0), (frozenset({"shop", "help"}), 0.5)):
        after = copy.deepcopy(monitor)
        after.apply(messages, sharing)
        due = part * rules.budget.pages_per_30_days * 50 * 60 / SECONDS
        assert after.metered[0] - monitor.metered[0] == pytest.approx(due)
        assert after.whole.states["response"].inflow == pytest.approx(due / len(after.whole.detectors))


def test_a_session_gives_one_unit_to_every_stream(monitor: ApplicationMonitor, traffic: Any) -> None:
    fed(monitor, traffic(40, first=UNITS, session_id="long"))
    assert {name: state.units for name, state in monitor.whole.states.items()} == dict.fromkeys(monitor.whole.states, 1)


def test_a_repeated_prompt_is_skipped_by_its_stream_and_counted_as_a_signal(
    monitor: ApplicationMonitor, traffic: Any
) -> None:
    messages = traffic(30, first=UNITS)
    again = [each.model_copy(update={"interaction_id": f"r{i}"}) for i, each in enumerate(messages)]
    fed(monitor, messages + again)
    assert monitor.whole.states["prompt"].units == 30
    assert monitor.whole.states["response"].units == monitor.whole.states["prompt.repeat"].units == 60
    assert monitor.whole.states["prompt.repeat"].capital.sum() > 0
    assert [unit.signals["prompt.repeat"] for unit in list(monitor.whole.recent)[-60:]] == [0.0] * 30 + [1.0] * 30


def test_a_model_that_is_stuck_on_one_answer_pages(monitor: ApplicationMonitor, traffic: Any) -> None:
    messages = traffic(300, first=UNITS)
    stuck = [each.model_copy(update={"response_vector": messages[0].response_vector}) for each in messages]
    assert {"response", "response.repeat"} <= {page.stream for page in pages(fed(monitor, stuck))}


def test_a_latched_stream_pages_no_more_until_it_is_armed_again(monitor: ApplicationMonitor, traffic: Any) -> None:
    first = pages(fed(monitor, traffic(300, first=UNITS, kind="new")))
    assert [page.stream for page in first] == ["prompt"]
    assert pages(fed(monitor, traffic(300, first=UNITS + 300, kind="new"))) == []
    assert [point.latched for point in curve(monitor.whole.shown(monitor.clock)) if point.stream == "prompt"] == [True]
    monitor.rearm()
    second = pages(fed(monitor, traffic(300, first=UNITS + 600, kind="new")))
    assert [page.stream for page in second] == ["prompt"]
    assert first[0].page_id != second[0].page_id


def test_pages_have_the_same_ids_in_every_replay(taught: ApplicationMonitor, traffic: Any) -> None:
    ids = [
        [page.page_id for page in pages(fed(copy.deepcopy(taught), traffic(300, first=UNITS, kind="new"), cuts))]
        for cuts in ([], [100, 101, 150], list(range(300)))
    ]
    assert ids[0] == ids[1] == ids[2] and len(ids[0]) == 1


def test_a_change_too_small_to_matter_pages_only_once_the_configuration_says_that_it_does(
    taught: ApplicationMonitor, traffic: Any, rules: Rules
) -> None:
    """The least effect is no part of the reference: another one counts after a restart, without learning anew."""
    monitor = copy.deepcopy(taught)
    patient = replace(rules, least_effects={"prompt": 1e6})
    monitor = restarted(monitor, patient, traffic(UNITS))
    changed = traffic(300, first=UNITS, kind="new")
    assert "prompt" not in {page.stream for page in pages(fed(monitor, changed))}
    assert monitor.whole.evidence()["prompt"] > 0.5 and not monitor.whole.states["prompt"].latched
    monitor = restarted(monitor, rules, traffic(UNITS) + changed)
    assert "prompt" in {page.stream for page in pages(fed(monitor, traffic(100, first=UNITS + 300, kind="new")))}


def test_hours_of_the_day_are_compared_with_their_like(traffic: Any, rules: Rules) -> None:
    def by_day_and_night(n: int, first: int = 0) -> list[Scored]:
        """Until eleven in the morning answers are four times as long."""
        return [
            each.model_copy(update={"signals": {"length": each.signals["length"] * (4 if hour < 11 else 1)}})
            for each in traffic(n, first=first)
            for hour in [each.occurred_at.hour]
        ]

    monitor = ApplicationMonitor("shop", replace(rules, reference_units=4_400, budget=Budget(1.0)))
    fed(monitor, by_day_and_night(4_400))
    assert monitor.reference is not None and monitor.reference.cycle is not None
    assert monitor.reference.cycle.count == 2
    again = load(dump(monitor.reference))
    assert again.cycle is not None and (again.cycle.hours == monitor.reference.cycle.hours).all()
    assert pages(fed(monitor, by_day_and_night(720, first=4_400))) == []
    assert monitor.whole.states["length"].seen.shape == (2,)


# -- other encoders and references -------------------------------------------------------------------------------------


def test_another_encoder_asks_for_a_reference_once_and_never_pages(monitor: ApplicationMonitor, traffic: Any) -> None:
    before = state_of(monitor)
    foreign = traffic(UNITS + 100, first=UNITS, kind="new", encoder="e2")
    events = fed(monitor, foreign[:100])
    collect(monitor, foreign[100:-150])
    events += fed(monitor, foreign[-150:])
    vectors = [name for name in before if name.startswith(("prompt/", "response/"))]
    assert [state_of(monitor)[name] for name in vectors] == [before[name] for name in vectors]
    assert [page for page in pages(events) if page.stream in ("prompt", "response")] == []
    learned = [event for event in events if isinstance(event, Learned)]
    assert [(event.proposed, event.reference.encoder) for event in learned] == [(True, "e2")]
    assert monitor.whole.candidate is None, "what was proposed is not collected again"
    monitor.promote(learned[0].reference)
    assert pages(fed(monitor, traffic(200, first=3 * UNITS, kind="new", encoder="e2"))) == []
    assert monitor.whole.states["prompt"].units == 200


def test_a_signal_still_pages_after_the_encoder_changed_and_explains_itself_by_its_own_units(
    monitor: ApplicationMonitor, traffic: Any
) -> None:
    messages = traffic(200, first=UNITS, encoder="e2")
    for i, each in enumerate(messages):
        messages[i] = each.model_copy(update={"signals": {"toxicity": 5.0 + i}})
    found = {page.stream: page for page in pages(fed(monitor, messages))}
    assert "toxicity" in found
    effect = found["toxicity"].effect
    assert effect.now > 1 and int(found["toxicity"].exemplars[0].interaction_id[1:]) >= UNITS


def test_whoever_accepts_a_change_twice_loses_nothing_that_was_collected(
    monitor: ApplicationMonitor, traffic: Any
) -> None:
    monitor.propose(f"{ACCEPTED}1", "")
    monitor.apply(traffic(UNITS - 10, first=5_000), HERE)
    monitor.propose(f"{ACCEPTED}2", "")
    (learned,) = [each for each in monitor.apply(traffic(10, first=8_000), HERE) if isinstance(each, Learned)]
    assert learned.proposed and learned.reference.run_id == f"{ACCEPTED}1"


def test_a_promoted_reference_is_in_force_at_once(monitor: ApplicationMonitor, traffic: Any, rules: Rules) -> None:
    fed(monitor, traffic(300, first=UNITS, kind="new"))
    assert monitor.whole.states["prompt"].latched
    calm = {"prompt.repeat": 0.0, "response.repeat": 0.0}
    units = [to_unit(each).with_signals(calm) for each in traffic(UNITS, first=9_000, kind="new")]
    other = make_reference("shop", units, rules.watched, 1e-6)
    monitor.promote(other)
    assert monitor.reference is other and not monitor.whole.states["prompt"].latched
    assert pages(fed(monitor, traffic(300, first=UNITS + 300, kind="new"))) == []


def test_a_reference_is_proposed_from_the_named_model_version_alone(monitor: ApplicationMonitor, traffic: Any) -> None:
    monitor.propose("run-1", "2")
    known = monitor.reference
    old, new = traffic(100, first=UNITS), traffic(UNITS, first=2 * UNITS, model=Model(name="m", version="2"))
    collect(monitor, old[:50] + new[:1_000] + old[50:] + new[1_000:-100])
    learned = [event for event in fed(monitor, new[-100:]) if isinstance(event, Learned)]
    assert [event.proposed for event in learned] == [True]
    assert learned[0].reference.run_id == "run-1"
    assert set(learned[0].reference.members) <= {message.interaction_id for message in new}
    assert monitor.reference is known and monitor.whole.proposed is learned[0].reference


def test_evidence_is_shown_at_fixed_places(monitor: ApplicationMonitor, traffic: Any) -> None:
    shown = curve(fed(monitor, traffic(100, first=UNITS), [7, 50]))
    places = sorted({round(point.occurred_at) for point in shown})
    assert len(places) == 3 and all(b - a == 60 * SHOWN_EVERY for a, b in itertools.pairwise(places))
    assert all(0 <= point.evidence <= 1 for point in shown)


def test_late_units_are_used_and_do_not_move_the_clock_back(monitor: ApplicationMonitor, traffic: Any) -> None:
    at = monitor.clock
    fed(monitor, traffic(20, first=100, session_id=None))
    assert monitor.clock == at
    state = monitor.whole.states["response"]
    assert state.units == 20 and np.isfinite(state.means).all() and state.inflow == 0
