"""Clean-up of the embedded broker's segments, which the broker itself never removes.

A batch goes when every group that reads its partition has committed past it and it is older than the retention. The
last batch of a partition stays, and so does everything that no group reads.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise

from streams.engines.objects import Entry, Objects

RETENTION_SECONDS = 3600.0

_BATCH = re.compile(r"clusters/[^/]+/topics/([^/]+)/partitions/(\d+)/records/(\d+)\.batch")
_COMMIT = re.compile(r"clusters/[^/]+/groups/consumers/[^/]+/offsets/([^/]+)/partitions/(\d+)\.json")

Partition = tuple[str, int]


def sweep(objects: Objects, now: float, retention: float = RETENTION_SECONDS) -> int:
    """Delete what may go at `now`, in seconds since 1970; the number of batches deleted."""
    batches: dict[Partition, list[tuple[int, Entry]]] = {}
    committed: dict[Partition, int] = {}
    for entry in objects.list("clusters/", limit=sys.maxsize).entries:
        if batch := _BATCH.fullmatch(entry.key):
            batches.setdefault((batch[1], int(batch[2])), []).append((int(batch[3]), entry))
        elif commit := _COMMIT.fullmatch(entry.key):
            partition, offset = (commit[1], int(commit[2])), json.loads(objects.read(entry.key))["offset"]
            committed[partition] = min(offset, committed.get(partition, offset))
    spent = [
        entry.key
        for partition, ordered in batches.items()
        for (_, entry), (following, _) in pairwise(ordered)
        if following <= committed.get(partition, 0) and entry.modified < now - retention
    ]
    for key in spent:
        objects.delete(key)
    return len(spent)
