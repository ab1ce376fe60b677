"""Faust sees slices instead of messages: nothing is committed before it is acknowledged, whatever the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import Settings
from streams.slices import BYTES, Slice, SliceConsumer, slices
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


@given(st.floats(1e-5, 1), st.integers(1, 10_000))
def test_a_batch_soon_takes_about_as_long_as_it_should(seconds_each: float, most: int) -> None:
    pace = Pace(most)
    for _ in range(20):
        taken = min(pace.slice_records * SLICES, most)
        pace.took(taken, taken * seconds_each)
    taken = min(pace.slice_records * SLICES, most)
    assert taken <= max(SLICES, BATCH_SECONDS / seconds_each)
    assert taken >= min(most, BATCH_SECONDS / seconds_each) / 2 - SLICES
