"""One partition of `tocsin.signals`: several applications, commands in between, and messages that come twice."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.core.monitor import ApplicationMonitor, Raised, Rules
from streams.core.partition import PartitionMonitor
from tocsin.messages import Joined, Promote, Propose, Rearm, SignalsMessage, Source

UNITS = 2_000
few = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


def command(offset: int) -> Source:
    return Source(topic="tocsin.commands", partition=0, offset=offset)


@pytest.fixture
def partition(taught: ApplicationMonitor, rules: Rules) -> PartitionMonitor:
    """The partition of an application that has learned."""
    return PartitionMonitor(
        rules,
        applications={"shop": copy.deepcopy(taught)},
        sharing={"shop"},
        marks={("tocsin.interactions", 0): UNITS - 1},
    )


def units_of(partition: PartitionMonitor) -> dict[str, int]:
    return {name: monitor.units_seen for name, monitor in partition.applications.items()}


def test_messages_that_come_again_are_taken_in_once(partition: PartitionMonitor, traffic: Any) -> None:
    messages = traffic(60, first=UNITS)
    partition.apply(messages[:40], {})
    partition.apply(messages[20:], {})
    partition.apply(messages, {})
    assert units_of(partition) == {"shop": UNITS + 60}
    assert partition.marks == {("tocsin.interactions", 0): UNITS + 59}


@few
@given(steps=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), min_size=1, max_size=6))
def test_redelivery_from_anywhere_leaves_what_a_single_delivery_leaves(
    taught: ApplicationMonitor, rules: Rules, traffic: Any, steps: list[tuple[int, int]]
) -> None:
    """Each step goes back some messages, as after a crash, and then further."""
    messages = traffic(60, first=UNITS)
    once, often = (PartitionMonitor(rules, {"shop": copy.deepcopy(taught)}, {"shop"}) for _ in range(2))
    came, position = [], 0
    for back, on in [*steps, (60, 60)]:
        start = max(0, position - back)
        position = max(position, start + on)
        came += often.apply(messages[start:position], {})
    assert came == once.apply(messages, {})
    assert units_of(often) == units_of(once) and often.marks == once.marks


def test_source_partitions_have_marks_of_their_own(partition: PartitionMonitor, traffic: Any) -> None:
    other = Source(topic="tocsin.interactions", partition=1, offset=0)
    (first, second) = traffic(2, first=UNITS)
    partition.apply([first, second.model_copy(update={"source": other})], {})
    assert units_of(partition) == {"shop": UNITS + 2}
    assert partition.marks[("tocsin.interactions", 1)] == 0


def test_applications_do_not_mix(partition: PartitionMonitor, traffic: Any) -> None:
    ours, theirs = traffic(20, first=UNITS), traffic(20, first=UNITS + 20, application="help")
    for i, each in enumerate(theirs):
        source = Source(topic="tocsin.interactions", partition=1, offset=i)
        theirs[i] = each.model_copy(update={"source": source})
    partition.apply([message for pair in zip(ours, theirs, strict=True) for message in pair], {})
    assert units_of(partition) == {"shop": UNITS + 20, "help": 20}
    assert partition.changed == {"help", "shop"}


def test_an_application_that_joins_takes_its_share_from_there_on(partition: PartitionMonitor, traffic: Any) -> None:
    messages: list[SignalsMessage] = [*traffic(64, first=UNITS)]
    alone, joined = copy.deepcopy(partition), copy.deepcopy(partition)
    alone.apply(messages, {})
    joined.apply([*messages[:60], Joined(application="help"), Joined(application="help"), *messages[60:]], {})
    assert joined.sharing == {"shop", "help"}
    inflows = [each.applications["shop"].whole.states["response"].inflow for each in (alone, joined)]
    assert inflows[1] == pytest.approx(inflows[0] * (60 + 4 / 2) / 64)


def test_commands_take_effect_between_the_very_messages_they_stand_between(
    partition: PartitionMonitor, traffic: Any
) -> None:
    changed = traffic(600, first=UNITS, kind="new")
    rearm = Rearm(source=command(0), application="shop", incident_id="x")
    events = partition.apply([*changed[:300], rearm, *changed[300:], rearm], {})
    found = [int(event.page.interaction_id[1:]) for event in events if isinstance(event, Raised)]
    assert len(found) == 2 and found[0] < UNITS + 300 <= found[1]
    assert partition.applications["shop"].whole.states["prompt"].latched, (
        "the second copy of the command was seen before"
    )


def test_a_proposal_and_a_promotion_reach_their_application(partition: PartitionMonitor) -> None:
    monitor = partition.applications["shop"]
    reference = monitor.reference
    assert reference is not None
    partition.apply([Propose(source=command(0), application="shop", run_id="r", model_version="2")], {})
    assert monitor.whole.candidate is not None and monitor.whole.candidate.run_id == "r"
    monitor.whole.reference = None
    unknown = Promote(source=command(1), application="shop", reference_id="gone")
    known = Promote(source=command(2), application="shop", reference_id=reference.reference_id)
    partition.apply([unknown], {})
    assert monitor.reference is None
    partition.apply([known], {reference.reference_id: reference})
    assert monitor.reference is reference
