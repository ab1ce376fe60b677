from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from streams.engines.objects import Objects
from streams.engines.repair import settle

PARTITION = "clusters/c/topics/t/partitions/0000000000"


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


def batch(objects: Objects, offset: int, records: int) -> None:
    header = bytes(23) + struct.pack(">i", records - 1) + bytes(34)
    objects.put(f"{PARTITION}/records/{offset:020}.batch", header)


def mark(objects: Objects, high: int | None) -> None:
    objects.put(f"{PARTITION}/watermark.json", json.dumps({"low": None, "high": high, "timestamps": None}).encode())


def high(objects: Objects) -> int | None:
    found = json.loads(objects.read(f"{PARTITION}/watermark.json"))
    assert found.keys() == {"low", "high", "timestamps"}
    return found["high"]  # type: ignore[no-any-return]


def test_offsets_of_a_batch_that_never_was_are_taken_back(objects: Objects) -> None:
    batch(objects, 0, 10)
    batch(objects, 10, 7)
    mark(objects, 25)
    assert settle(objects) == 1
    assert high(objects) == 17


def test_a_mark_at_the_end_of_the_last_batch_is_left_alone(objects: Objects) -> None:
    batch(objects, 10, 7)
    mark(objects, 17)
    before = objects.head(f"{PARTITION}/watermark.json")
    assert settle(objects) == 0
    assert objects.head(f"{PARTITION}/watermark.json") == before


def test_a_partition_whose_first_batch_never_was_is_empty_again(objects: Objects) -> None:
    mark(objects, 5)
    settle(objects)
    assert high(objects) is None


def test_an_empty_partition_is_left_alone(objects: Objects) -> None:
    mark(objects, None)
    assert settle(objects) == 0
