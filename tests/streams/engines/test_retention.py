from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.engines.objects import Objects
from streams.engines.retention import sweep


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """One partition with batches that begin at 0, 10, 20 and 30."""
    objects = Objects(tmp_path)
    for offset in (0, 10, 20, 30):
        objects.put(f"clusters/c/topics/t/partitions/0000000000/records/{offset:020}.batch", b"records")
    return objects


def commit(objects: Objects, group: str, offset: int) -> None:
    key = f"clusters/c/groups/consumers/{group}/offsets/t/partitions/0000000000.json"
    objects.put(key, b'{"offset": %d}' % offset)


def left(objects: Objects) -> list[int]:
    keys = [entry.key for entry in objects.list("clusters/c/topics/").entries]
    return [int(Path(key).stem) for key in keys if key.endswith(".batch")]


def test_batches_go_once_every_group_has_committed_past_them(objects: Objects) -> None:
    commit(objects, "fast", 35)
    commit(objects, "slow", 15)
    assert sweep(objects, time.time(), retention=-1) == 1
    assert left(objects) == [10, 20, 30]


def test_a_batch_that_is_committed_in_part_stays(objects: Objects) -> None:
    commit(objects, "group", 29)
    sweep(objects, time.time(), retention=-1)
    assert left(objects) == [20, 30]


def test_the_last_batch_stays(objects: Objects) -> None:
    commit(objects, "group", 40)
    sweep(objects, time.time(), retention=-1)
    assert left(objects) == [30]


def test_what_no_group_reads_stays(objects: Objects) -> None:
    assert sweep(objects, time.time(), retention=-1) == 0


def test_young_batches_stay(objects: Objects) -> None:
    commit(objects, "group", 40)
    assert sweep(objects, time.time(), retention=3600) == 0
    assert left(objects) == [0, 10, 20, 30]
    assert sweep(objects, time.time() + 3601, retention=3600) == 3
