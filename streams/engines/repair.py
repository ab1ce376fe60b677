"""Takes back offsets that the embedded broker gave out and never filled.

The broker moves a partition's high watermark before it stores the batch. If it ends in between, it would go on behind
the offsets of a batch that never was, and every count made from offsets would find those messages missing. So before
it starts, the watermark is set to the end of the last batch that is stored. Nobody was acknowledged anything there.
"""

from __future__ import annotations

import json
import re
import struct
import sys

from streams.engines.objects import Objects

_PARTITION = re.compile(r"(clusters/[^/]+/topics/[^/]+/partitions/\d+/)(watermark\.json|records/(\d+)\.batch)")
_LAST_OFFSET_DELTA = slice(23, 27)  # in the header of a record batch, version 2


def settle(objects: Objects) -> int:
    """Set every watermark to the end of what is stored; the number that had to be changed.

    Raises:
        OSError: a watermark cannot be written; none is half-written.
    """
    last: dict[str, tuple[int, str]] = {}
    marks: dict[str, str] = {}
    for entry in objects.list("clusters/", limit=sys.maxsize).entries:  # in order of offset
        if found := _PARTITION.fullmatch(entry.key):
            if found[3]:
                last[found[1]] = int(found[3]), entry.key
            else:
                marks[found[1]] = entry.key
    changed = 0
    for partition, key in marks.items():
        mark, end = json.loads(objects.read(key)), None
        if partition in last:
            first, batch = last[partition]
            end = first + struct.unpack(">i", objects.read(batch)[_LAST_OFFSET_DELTA])[0] + 1
        if mark["high"] != end:
            objects.put(key, json.dumps(mark | {"high": end}).encode())
            changed += 1
    return changed
