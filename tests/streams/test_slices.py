"""Faust sees slices instead of messages: nothing is committed before it is acknowledged, whatever the order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import Settings
from streams.slices import BYTES, Cuts, Slice, SliceConsumer, in_time, released, slices
from streams.worker import BATCH_SECONDS, SLICES, Pace, create_worker

PLACE = TP("tocsin.interactions", 3)


@dataclass(frozen=True)
class Fetched:
    """What is read of aiokafka's ConsumerRecord."""

    offset: int
    value: bytes | None
    timestamp: int = 0
    timestamp_type: int = 0


def fetched(sizes: Sequence[int]) -> list[Fetched]:
    return [Fetched(offset, b"x" * size or None) for offset, size in enumerate(sizes)]


@given(st.lists(st.sampled_from([0, 1, 1_000, BYTES // 2, BYTES, 2 * BYTES]), max_size=40), st.integers(1, 10))
def test_slices_hold_every_record_in_order_and_are_small(sizes: list[int], most: int) -> None:
    records = fetched(sizes)
    cut = list(slices(records, most))
    assert [record for piece in cut for record in piece] == records
    for piece in cut:
        assert 0 < len(piece) <= most
        assert len(piece) == 1 or sum(len(record.value or b"") for record in piece) <= BYTES


times = st.lists(st.integers(0, 50), max_size=30)
topics = st.dictionaries(st.builds(TP, st.just(PLACE.topic), st.integers(0, 4)), times, min_size=1)


def timed(found: Sequence[int]) -> list[Fetched]:
    return [Fetched(offset, b"", time) for offset, time in enumerate(found)]


@given(topics)
def test_records_come_by_time_and_each_partition_keeps_its_order(found: dict[TP, list[int]]) -> None:
    merged = list(in_time({tp: timed(sorted(each)) for tp, each in found.items()}))
    assert all(one.timestamp <= later.timestamp for (_, one), (_, later) in pairwise(merged))
    unsorted = list(in_time({tp: timed(each) for tp, each in found.items()}))
    for tp, each in found.items():
        assert [record for place, record in unsorted if place == tp] == timed(each)


@given(topics, st.integers(1, 5))
def test_slices_of_several_partitions_reach_to_the_same_times(found: dict[TP, list[int]], most: int) -> None:
    records = {tp: timed(sorted(each)) for tp, each in found.items()}
    given_out = list(Cuts({PLACE.topic: most}).iterate(records))
    for tp, each in records.items():
        assert [record for place, piece in given_out if place == tp for record in piece] == each
    in_order = [record.timestamp for _, record in in_time(records)]
    place = 0
    for _, piece in given_out:  # no slice begins later than one cut ahead of what was given
        assert piece[0].timestamp <= in_order[min(place + most * len(records), len(in_order)) - 1]
        place += len(piece)


@given(topics, st.sets(st.integers(0, 4)))
def test_nothing_is_given_that_is_later_than_what_may_still_come(found: dict[TP, list[int]], more: set[int]) -> None:
    held = {tp: deque(timed(each)) for tp, each in found.items()}
    behind = {tp for tp in held if tp.partition in more}
    known = {tp: max(each) for tp, each in found.items() if each and tp in behind}
    given_out = released(held, behind)
    for tp, each in found.items():
        assert [*given_out.get(tp, []), *held[tp]] == timed(each)
    if known:
        assert all(record.timestamp <= min(known.values()) for each in given_out.values() for record in each)
        assert any(not held[tp] for tp in known), "the one that the others wait for was not given"
    else:
        assert not any(held.values())


def consumer() -> SliceConsumer:
    """A consumer of an application that was not started."""

    async def nothing(*_: object) -> None: ...

    worker = create_worker("slices", {PLACE.topic: nothing}, Settings(), "127.0.0.1:9", batch=10, within=0.1)
    worker.topics.acking_topics.add(PLACE.topic)
    made = worker.transport.create_consumer(nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing)
    assert isinstance(made, SliceConsumer)
    return made


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_what_is_committed_ends_before_the_first_slice_that_is_not_acknowledged(
    lengths: list[int], dice: object
) -> None:
    reader, start, given_slices = consumer(), 0, list[Slice]()
    for length in lengths:
        records = [Fetched(start + number, b"") for number in range(length)]
        given_slices.append(reader._to_message(PLACE, records))
        start += length
    order = list(given_slices)
    dice.shuffle(order)  # type: ignore[attr-defined]
    committed = 0
    for each in order:
        each.incref()
        each.ack(reader)
        committed = reader._new_offset(PLACE) or committed
        done = [one.acked for one in given_slices]
        first = done.index(False) if False in done else len(done)
        assert committed == sum(lengths[:first])


def test_what_was_given_before_a_seek_is_not_waited_for() -> None:
    reader = consumer()
    reader._to_message(PLACE, [Fetched(0, b"")])
    reader.forget({PLACE})
    again = reader._to_message(PLACE, [Fetched(0, b""), Fetched(1, b"")])
    again.incref()
    again.ack(reader)
    assert reader._new_offset(PLACE) == 2


def test_a_stream_that_is_emptied_has_room_though_it_already_waits_for_the_next() -> None:
    async def told() -> list[str]:
        said: list[str] = []
        worker = create_worker("slices", {}, Settings(), "127.0.0.1:9", batch=10, within=0.1)
        buffer = worker.FlowControlQueue(5, clear_on_resume=True)
        taker = asyncio.create_task(buffer.get())
        await asyncio.sleep(0)
        full, room = partial(said.append, "full"), partial(said.append, "room")
        for number in range(5):
            buffer.put_nowait_enhanced(number, on_pressure_high=full, on_pressure_drop=room)
        worker.flow_control.resume()
        await asyncio.sleep(0)
        assert not taker.done(), "what was forgotten is not taken"
        taker.cancel()
        return said

    assert asyncio.run(told()) == ["full", "room"]


@given(st.floats(1e-5, 1), st.integers(1, 10_000))
def test_a_batch_soon_takes_about_as_long_as_it_should(seconds_each: float, most: int) -> None:
    pace = Pace(most)
    for _ in range(20):
        taken = min(pace.slice_records * SLICES, most)
        pace.took(taken, taken * seconds_each)
    taken = min(pace.slice_records * SLICES, most)
    assert taken <= max(SLICES, BATCH_SECONDS / seconds_each)
    assert taken >= min(most, BATCH_SECONDS / seconds_each) / 2 - SLICES
