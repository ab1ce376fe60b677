"""A monitor that was stored and restored decides bit for bit as one that never stopped."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest

from detectors.drift import to_arrays
from streams.core.archive import Outdated
from streams.core.monitor import ApplicationMonitor, Event, Learned, Raised
from streams.core.snapshot import dump, read, restore
from streams.core.units import to_unit
from tocsin.contracts import Model
from tocsin.messages import Scored

HERE = frozenset({"shop"})
UNITS = 2_000


def restarted(monitor: ApplicationMonitor, messages: list[Scored]) -> ApplicationMonitor:
    """Through bytes and back; units are read again from what was published, as from the table."""
    snapshot = read(dump(monitor))
    wanted = snapshot.unit_ids
    units = {each.interaction_id: to_unit(each) for each in messages if each.interaction_id in wanted}
    assert set(units) == wanted
    known = {each.reference_id: each for each in (monitor.reference, monitor.whole.proposed) if each}
    assert snapshot.reference_ids == set(known)
    return restore(snapshot, monitor.rules, units, known)


def lived(monitor: ApplicationMonitor, messages: list[Scored], restarts: list[int]) -> tuple[list[Event], bytes]:
    """Events, and the snapshot at the end, of a life with these restarts."""
    events: list[Event] = []
    for start, stop in pairwise([0, *restarts, len(messages)]):
        if start:
            monitor = restarted(monitor, ALL)
        events += monitor.apply(messages[start:stop], HERE)
    return events, dump(monitor)


ALL: list[Scored] = []


@pytest.fixture(autouse=True, scope="module")
def table(traffic: Any) -> None:
    """Everything that is published here."""
    second = Model(name="m", version="2")
    ordinary = traffic(UNITS) + traffic(UNITS, first=UNITS)  # the first of them taught the monitor
    ALL[:] = ordinary + traffic(800, first=2 * UNITS, kind="new") + traffic(UNITS + 100, 9_000, model=second)


def assert_same_life(begin: ApplicationMonitor, messages: list[Scored], restarts: list[int]) -> list[Event]:
    """Uninterrupted and restarted lives have the same events and end in the same state."""
    events, end = lived(copy.deepcopy(begin), messages, [])
    again, same_end = lived(copy.deepcopy(begin), messages, restarts)
    for one, other in zip(identities(events), identities(again), strict=True):
        assert one == other
    for (one, arrays), (other, same) in zip(read(end).parts.values(), read(same_end).parts.values(), strict=True):
        assert one == other
        assert {n: a.tobytes() for n, a in arrays.items()} == {n: a.tobytes() for n, a in same.items()}
    return events


def identities(events: list[Event]) -> list[Any]:
    """Events with references by what they hold: they are equal if every array is."""
    return [
        (
            event.reference.reference_id,
            event.proposed,
            {
                f"{name}/{key}": array.tobytes()
                for name, detector in event.reference.detectors.items()
                for key, array in to_arrays(detector.reference, "").items()
            },
        )
        if isinstance(event, Learned)
        else event
        for event in events
    ]


def test_while_learning(rules: Any) -> None:
    begin = ApplicationMonitor("shop", rules)
    begin.apply(ALL[: UNITS - 60], HERE)
    events = assert_same_life(begin, ALL[UNITS - 60 : UNITS + 60], [20, 59, 90])
    assert sum(isinstance(event, Learned) for event in events) == 1


def test_while_watching_and_through_a_page(taught: ApplicationMonitor) -> None:
    messages = ALL[UNITS : UNITS + 300] + ALL[2 * UNITS : 2 * UNITS + 300]
    events = assert_same_life(taught, messages, [1, 100, 301, 320, 350, 500])
    assert sum(isinstance(event, Raised) for event in events) == 1


def test_while_a_reference_of_another_model_version_is_collected(taught: ApplicationMonitor) -> None:
    begin = copy.deepcopy(taught)
    begin.propose("run-7", "2")
    assert begin.whole.candidate is not None
    for message in ALL[-(UNITS + 100) : -200]:
        begin.whole.candidate.add(to_unit(message).with_signals({"prompt.repeat": 0.0, "response.repeat": 0.0}))
    events = assert_same_life(begin, ALL[UNITS : UNITS + 30] + ALL[-200:], [20, 100, 180])
    assert [event.proposed for event in events if isinstance(event, Learned)] == [True]


def test_sessions_and_repeats_are_remembered(taught: ApplicationMonitor) -> None:
    begin = copy.deepcopy(taught)
    begin.apply([message.model_copy(update={"session_id": "s"}) for message in ALL[UNITS : UNITS + 3]], HERE)
    again = [ALL[UNITS + 3].model_copy(update={"session_id": "s"}), ALL[UNITS - 5], ALL[UNITS - 300]]
    after = restarted(begin, ALL)
    after.apply(again, HERE)
    assert after.units_seen == begin.units_seen + 2
    assert [unit.signals["prompt.repeat"] for unit in list(after.whole.recent)[-2:]] == [1.0, 0.0]


def test_a_unit_that_was_erased_meanwhile_is_left_out(taught: ApplicationMonitor, traffic: Any) -> None:
    snapshot = read(dump(taught))
    units = {message.interaction_id: to_unit(message) for message in ALL[UNITS - 200 : UNITS]}
    assert taught.reference is not None
    restored = restore(snapshot, taught.rules, units, {taught.reference.reference_id: taught.reference})
    assert len(restored.whole.recent) == 200
    restored.apply(traffic(100, first=UNITS), HERE)
    assert restored.units_seen == UNITS + 100


def test_a_snapshot_is_small(taught: ApplicationMonitor) -> None:
    assert len(dump(taught)) < 60_000, "ids and states, no vectors"


def test_a_snapshot_of_another_version_of_the_program_is_refused(
    taught: ApplicationMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dump(taught)
    monkeypatch.setattr("streams.core.snapshot.VERSION", 9)
    with pytest.raises(Outdated, match="this program reads 9"):
        read(data)
    with pytest.raises(Outdated, match="an earlier program"):
        read(b"PK" + data)
