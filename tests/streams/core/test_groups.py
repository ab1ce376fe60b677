"""An application and its segments: each compared with its own units, on one budget."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.drift import Alarm, Batch, to_arrays
from streams.core.budget import SECONDS, Budget
from streams.core.events import Event, Learned, Raised, Retired, Shown
from streams.core.monitor import ALL, LEARNING, ApplicationMonitor
from streams.core.rules import Rules
from streams.core.segments import ELECTED_EVERY
from streams.core.snapshot import changed_parts, dump, read_parts, restore
from streams.core.units import to_unit
from tocsin.contracts import Model
from tocsin.messages import Page, Scored

HERE = frozenset({"shop"})
UNITS = 2_000
LEARNED = 5_300  # by then two halves of the traffic have a reference each
EU, US = "attribute region=eu", "attribute region=us"
few = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))

Regional = Callable[..., list[Scored]]


@pytest.fixture(scope="module")
def regional(traffic: Any) -> Regional:
    """Traffic of two regions, of which one may change; every interaction has an id among its attributes."""

    def messages(n: int, first: int = 0, changed: str = "", **more: Any) -> list[Scored]:
        ours, new = traffic(n, first=first, **more), traffic(n, first=first, kind="new", **more)
        regions = np.random.default_rng((first, 3)).choice(["eu", "us"], size=n)
        return [
            (new if region == changed else ours)[i].model_copy(
                update={"attributes": {"region": str(region), "request": f"r{first + i}"}}
            )
            for i, region in enumerate(regions)
        ]

    return messages


@pytest.fixture(scope="module")
def segmented(rules: Rules) -> Rules:
    return replace(rules, segments=("template", "attribute *"), budget=Budget(pages_per_30_days=1.0))


@pytest.fixture(scope="module")
def life(regional: Regional, segmented: Rules) -> tuple[ApplicationMonitor, list[Event]]:
    """A monitor that has learned the whole and both regions, and what it said meanwhile."""
    monitor = ApplicationMonitor("shop", segmented)
    return monitor, monitor.apply(regional(LEARNED), HERE)


@pytest.fixture
def monitor(life: tuple[ApplicationMonitor, list[Event]]) -> ApplicationMonitor:
    return copy.deepcopy(life[0])


def fed(monitor: ApplicationMonitor, messages: list[Scored], cuts: list[int] | None = None) -> list[Event]:
    edges = [0, *sorted(cuts or []), len(messages)]
    return [e for a, b in itertools.pairwise(edges) for e in monitor.apply(messages[a:b], HERE)]


def pages(events: list[Event]) -> list[Page]:
    return [event.page for event in events if isinstance(event, Raised)]


def learned(events: list[Event]) -> list[tuple[str, bool]]:
    return [(event.reference.segment, event.proposed) for event in events if isinstance(event, Learned)]


def state_of(monitor: ApplicationMonitor) -> dict[str, bytes]:
    """Every bit of every stream's state."""
    return {
        key: array.tobytes()
        for segment, group in monitor.groups.items()
        for stream, state in group.states.items()
        for key, array in to_arrays(state, f"{segment}/{stream}").items()
    }


def restarted(
    monitor: ApplicationMonitor, published: list[Scored], table: dict[str, bytes] | None = None
) -> ApplicationMonitor:
    """Through a table with the latest parts and back; units are read again from what was published."""
    table = {} if table is None else table
    table |= changed_parts(monitor)
    snapshot = read_parts(table)
    wanted = snapshot.unit_ids
    units = {each.interaction_id: to_unit(each) for each in published if each.interaction_id in wanted}
    assert set(units) == wanted
    held = [each for group in monitor.groups.values() for each in (group.reference, group.proposed) if each]
    return restore(snapshot, monitor.rules, units, {each.reference_id: each for each in held})


# -- appearing ---------------------------------------------------------------------------------------------------------


def test_segments_appear_by_themselves_and_are_watched_once_they_have_units_of_their_own(
    life: tuple[ApplicationMonitor, list[Event]],
) -> None:
    monitor, events = life
    assert learned(events)[0] == (ALL, False) and set(learned(events)[1:]) == {(EU, False), (US, False)}
    assert set(monitor.groups) == {ALL, EU, US}, "an id is no segment"
    for segment in (EU, US):
        reference = monitor.groups[segment].reference
        assert reference is not None and len(reference.members) >= UNITS
        assert reference.reference_id != getattr(monitor.reference, "reference_id", "")


def test_the_progress_of_a_segment_is_shown_apart(life: tuple[ApplicationMonitor, list[Event]]) -> None:
    shown = [e for e in life[1] if isinstance(e, Shown) and e.stream == LEARNING]
    of_eu = [point.units for point in shown if point.segment == EU]
    assert of_eu == sorted(of_eu) and of_eu[-1] > 1_900
    assert {point.segment for point in shown} == {ALL, EU, US}


def test_a_segments_evidence_is_shown_every_so_many_of_its_own_units(
    monitor: ApplicationMonitor, regional: Regional
) -> None:
    points = [e for e in fed(monitor, regional(640, LEARNED)) if isinstance(e, Shown) and e.stream == "prompt"]
    counts = {segment: sum(point.segment == segment for point in points) for segment in (ALL, EU, US)}
    assert counts[ALL] == 20 and 6 <= counts[EU] <= 10 and 6 <= counts[US] <= 10


def test_an_application_without_such_fields_has_no_segments(traffic: Any, segmented: Rules) -> None:
    monitor = ApplicationMonitor("shop", segmented)
    fed(monitor, traffic(ELECTED_EVERY + 10))
    assert set(monitor.groups) == {ALL}


# -- paging ------------------------------------------------------------------------------------------------------------


def test_a_change_in_one_segment_pages_there_and_says_how_the_others_stand(
    monitor: ApplicationMonitor, regional: Regional
) -> None:
    published, messages = regional(LEARNED), regional(300, LEARNED, changed="us")
    found = pages(fed(monitor, messages))
    (page,) = [page for page in found if page.segment and page.stream == "prompt"]
    assert page.segment == US
    assert page.page_id not in {other.page_id for other in found if other is not page}
    stand = {each.segment: each.evidence for each in page.segments}
    assert set(stand) == {ALL, EU, US} and stand[US] == 1 and stand[EU] < 0.5
    region = {each.interaction_id: each.attributes["region"] for each in published + messages}
    assert {region[exemplar.interaction_id] for exemplar in page.exemplars} == {"us"}
    assert Page.model_validate_json(page.model_dump_json()) == page


@few
@given(cuts=st.lists(st.integers(0, 240), max_size=8))
def test_cutting_the_messages_anywhere_changes_neither_events_nor_states(
    life: tuple[ApplicationMonitor, list[Event]], regional: Regional, cuts: list[int]
) -> None:
    messages = regional(60, LEARNED) + regional(180, LEARNED + 60, changed="eu")
    whole, pieces = copy.deepcopy(life[0]), copy.deepcopy(life[0])
    events = fed(whole, messages)
    assert fed(pieces, messages, cuts) == events
    assert state_of(pieces) == state_of(whole)
    assert EU in {page.segment for page in pages(events)}


def test_a_resolved_incident_arms_the_segments_too(monitor: ApplicationMonitor, regional: Regional) -> None:
    fed(monitor, regional(300, LEARNED, changed="us"))
    assert monitor.groups[US].states["prompt"].latched
    assert {event.segment for event in monitor.rearm() if isinstance(event, Shown)} == {ALL, EU, US}
    assert not monitor.groups[US].states["prompt"].latched


# -- the budget --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Added:
    pages: float = 0.0
    units: int = 0
    latched: bool = False


class Adds:
    """A detector that adds up what it is given."""

    def start(self) -> Added:
        return Added()

    def update(self, state: Added, batch: Batch) -> tuple[Added, list[Alarm]]:
        assert (batch.inflow >= 0).all()
        return Added(state.pages + float(batch.inflow.sum()), state.units + len(batch)), []

    def read(self, state: Added) -> float:
        return 0.0


def timed(messages: list[Scored], gaps: list[float], clock: float) -> tuple[list[Scored], float]:
    """The messages with these gaps between them (a negative one makes a late message), and what they are worth."""
    out, worth = [], 0.0
    for message, gap in zip(messages, gaps, strict=True):
        out.append(message.model_copy(update={"occurred_at": datetime.fromtimestamp(clock + gap, UTC)}))
        worth += min(max(gap, 0.0), 3_600.0)
        clock += max(gap, 0.0)
    return out, worth


@few
@given(
    gaps=st.lists(st.sampled_from([-500.0, 0.0, 60.0, 1_800.0, 90_000.0]), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    sharing=st.sampled_from([HERE, HERE | {"help"}]),
)
def test_inflows_of_the_whole_and_of_all_segments_add_up_to_the_applications(
    life: tuple[ApplicationMonitor, list[Event]],
    regional: Regional,
    gaps: list[float],
    cuts: list[int],
    sharing: frozenset[str],
) -> None:
    monitor = copy.deepcopy(life[0])
    segments = [monitor.groups[name] for name in (EU, US)]
    owed = sum(monitor.metered[1] - group.paid for group in segments)
    for group in monitor.groups.values():
        group.detectors = dict.fromkeys(group.detectors, Adds())  # type: ignore[arg-type]
        group.start()
    messages, seconds = timed(regional(len(gaps), LEARNED), gaps, monitor.clock)
    for start, stop in itertools.pairwise([0, *sorted(cuts), len(gaps)]):
        monitor.apply(messages[start:stop], sharing)
    rate = monitor.rules.budget.pages_per_30_days / SECONDS / len(sharing)
    given_out = {name: sum(state.pages for state in group.states.values()) for name, group in monitor.groups.items()}
    still_owed = sum(monitor.metered[1] - group.paid for group in segments)
    assert given_out[ALL] == pytest.approx(rate * seconds / 2, abs=1e-9)
    assert sum(given_out.values()) + still_owed - owed == pytest.approx(rate * seconds, abs=1e-9)


# -- references of segments --------------------------------------------------------------------------------------------


def hand_over(monitor: ApplicationMonitor, messages: list[Scored]) -> None:
    """Let proposals have these, without the cost of watching them all."""
    for message in messages:
        unit = to_unit(message).with_signals({"prompt.repeat": 0.0, "response.repeat": 0.0})
        for group in (monitor.whole, monitor.groups[f"attribute region={message.attributes['region']}"]):
            if group.candidate is not None:
                group.candidate.add(unit)


def test_a_retraining_run_proposes_for_the_whole_and_for_its_segments_and_promotion_takes_all(
    monitor: ApplicationMonitor, regional: Regional
) -> None:
    monitor.propose("run-1", "2")
    new = regional(2 * UNITS + 300, 9_000, model=Model(name="m", version="2"))
    hand_over(monitor, new[:-400])
    events = fed(monitor, new[-400:])
    proposed = {e.reference.segment: e.reference for e in events if isinstance(e, Learned)}
    assert learned(events) == [(ALL, True), *((name, True) for name in proposed if name)] and set(proposed) == {
        ALL,
        EU,
        US,
    }
    before = {name: group.reference for name, group in monitor.groups.items()}
    events = monitor.promote(proposed[ALL])
    assert sorted(learned(events)) == [(EU, False), (US, False)]
    for name, group in monitor.groups.items():
        assert group.reference is proposed[name] is not before[name] and group.candidate is None


def test_a_segment_that_has_proposed_nothing_is_forgotten_at_a_promotion_and_learned_anew(
    monitor: ApplicationMonitor, regional: Regional
) -> None:
    monitor.propose("run-1", "2")
    old = monitor.groups[US].reference
    hand_over(monitor, list(regional(4_000, 9_000, model=Model(name="m", version="2")))[:UNITS])
    (event,) = [
        e for e in fed(monitor, regional(1, LEARNED, model=Model(name="m", version="2"))) if isinstance(e, Learned)
    ]
    events = monitor.promote(event.reference)
    assert {each.reference.segment for each in events if isinstance(each, Retired)} == {EU, US}
    assert old in [each.reference for each in events if isinstance(each, Retired)]
    assert set(monitor.groups) == {ALL}
    fed(monitor, regional(ELECTED_EVERY, LEARNED + 1))
    assert {name: group.learning is not None for name, group in monitor.groups.items()} == {
        ALL: False,
        EU: True,
        US: True,
    }


def test_few_segments_collect_at_a_time(monitor: ApplicationMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.core.monitor.LEARNING_AT_ONCE", 1)
    monitor.propose("run-1", "")
    assert sum(group.candidate is not None for group in monitor._segments()) == 1 and monitor.whole.candidate


def test_a_segment_that_leaves_the_traffic_is_forgotten(
    monitor: ApplicationMonitor, traffic: Any, regional: Regional
) -> None:
    assert monitor.tally is not None
    monitor.tally.volumes[US] = 10.0  # as after a long time with hardly any
    only_eu = [each.model_copy(update={"attributes": {"region": "eu"}}) for each in traffic(ELECTED_EVERY, LEARNED)]
    retired = [event.reference.segment for event in fed(monitor, only_eu) if isinstance(event, Retired)]
    assert retired == [US] and set(monitor.groups) == {ALL, EU}


def test_learning_on_demand_makes_references_of_the_segments_that_have_enough(
    segmented: Rules, regional: Regional
) -> None:
    monitor = ApplicationMonitor("shop", replace(segmented, reference_units=10**9))
    fed(monitor, regional(4_300))
    assert learned(monitor.learn_now(HERE)) == [(ALL, False), (EU, False), (US, False)]
    fed(monitor, regional(ELECTED_EVERY, 4_300))
    assert set(monitor.groups) == {ALL, EU, US} and monitor.groups[EU].states["response"].units > 400


# -- going on after a restart ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [[1, 150, 260], [210, 220, 230, 390]])
def test_a_restart_changes_neither_pages_nor_states_of_segments(
    life: tuple[ApplicationMonitor, list[Event]], regional: Regional, restarts: list[int]
) -> None:
    published = regional(LEARNED)
    messages = regional(200, LEARNED) + regional(200, LEARNED + 200, changed="us")
    lived, died = copy.deepcopy(life[0]), copy.deepcopy(life[0])
    events = fed(lived, messages)
    again, table = list[Event](), dict[str, bytes]()
    for start, stop in itertools.pairwise([0, *restarts, len(messages)]):
        died = restarted(died, published + messages, table)
        again += fed(died, messages[start:stop])
    assert again == events and US in {page.segment for page in pages(events)}
    assert state_of(died) == state_of(lived) and dump(died) == dump(lived)


def test_a_batch_stores_the_segments_that_it_changed(monitor: ApplicationMonitor, regional: Regional) -> None:
    assert set(changed_parts(monitor)) == {ALL, EU, US}
    first, second = [each for each in regional(20, LEARNED) if each.attributes["region"] == "eu"][:2]
    fed(monitor, [first])
    assert set(changed_parts(monitor)) == {ALL, EU}
    monitor.whole.unshown, monitor.groups[US].unshown, monitor.shown_at = 31, 40, 0.0
    fed(monitor, [second])
    assert set(changed_parts(monitor)) == {ALL, EU, US}, "what was shown counts from nothing again"
    monitor.rearm()
    assert set(changed_parts(monitor)) == {ALL, EU, US}


def test_a_restart_while_segments_learn_leaves_nothing_out(regional: Regional, segmented: Rules) -> None:
    published = regional(3_300)
    lived = ApplicationMonitor("shop", replace(segmented, reference_units=10**6))
    fed(lived, published[:2_500])
    died = restarted(lived, published)
    assert fed(died, published[2_500:]) == fed(lived, published[2_500:])
    for name in (ALL, EU, US):
        one, other = lived.groups[name].learning, died.groups[name].learning
        assert one is not None and other is not None and one.distinct == other.distinct > 1_000 * (name == ALL)
        assert [unit.interaction_id for unit in one.units] == [unit.interaction_id for unit in other.units]
    assert lived.tally == died.tally


def test_a_segment_that_is_configured_no_more_is_gone_after_a_restart(
    monitor: ApplicationMonitor, regional: Regional
) -> None:
    monitor.rules = replace(monitor.rules, segments=("template",))
    assert set(restarted(monitor, regional(LEARNED)).groups) == {ALL}
