"""What must hold after everything that was done, found out from the topics and the tables.

A record's fate is worked out here from its bytes, and compared with what the product says. Only for the detectors the
product's own code runs again: over the recorded order of `tocsin.signals`, in one go.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import orjson
from kafka import KafkaConsumer, TopicPartition

from benchmarks.chaos.system import System
from benchmarks.chaos.traffic import MARK, Load
from sinks.clickhouse import Store
from sinks.recovery import Recovery
from streams.core import snapshot
from streams.core.events import Raised
from streams.core.partition import PartitionMonitor
from streams.pipeline import rules_of
from streams.settings import Settings
from tocsin.messages import INTERACTIONS, PAGES, SIGNALS, SIGNALS_MESSAGE

QUIET_POLLS = 3
STOP_SECONDS = 5
CLOCK_REASONS = {"future", "too_old"}
Place = tuple[int, int]
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Finding:
    """Something that must hold; `wrong` is empty, or says where it does not."""

    what: str
    wrong: str = ""


@dataclass(frozen=True)
class Recorded:
    """Every record of our topics, by topic and place (partition, offset), in the order of offsets."""

    topics: Mapping[str, Mapping[Place, bytes | None]]


def record(bootstrap: str) -> Recorded:
    """Read the topics from their beginning to their end; nobody writes any more."""
    return Recorded({topic: dict(sorted(_read(bootstrap, topic))) for topic in (INTERACTIONS, SIGNALS, PAGES)})


def _read(bootstrap: str, topic: str) -> Iterator[tuple[Place, bytes | None]]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), group_id=None, enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends, quiet = consumer.end_offsets(partitions), 0
    while quiet < QUIET_POLLS or any(consumer.position(each) < ends[each] for each in partitions):
        found = consumer.poll(timeout_ms=1_000)
        quiet = 0 if found else quiet + 1
        for partition, records in found.items():
            yield from (((partition.partition, each.offset), each.value) for each in records)
    consumer.close()


@dataclass(frozen=True)
class Fates:
    """What became of the records of `tocsin.interactions`, by the tables: places."""

    stored: set[Place]
    dead: set[Place]
    duplicate: set[Place]

    def counts(self, partition: int) -> dict[str, int]:
        """As the ledger names them."""
        named = {"stored": self.stored, "dead_lettered": self.dead, "duplicate": self.duplicate}
        return {name: sum(place[0] == partition for place in places) for name, places in named.items()}


def check(
    system: System, load: Load, recorded: Recorded, audited: Mapping[str, Any], store: Store
) -> tuple[list[Finding], dict[str, int]]:
    """All findings, and the figures of the report."""
    rows = _rows(store)
    interactions = recorded.topics[INTERACTIONS]
    fates = Fates(
        stored={place for place in rows if place in interactions},
        dead=_dead_letters(store),
        duplicate=set(_duplicates(interactions, rows)),
    )
    copies = int(store.query("SELECT count() AS n FROM interactions")[0]["n"]) - len(rows)
    findings = [
        *_rows_hold(interactions, rows, fates),
        *_ledger_holds(interactions, fates, audited),
        *_promises_hold(load, rows, store),
        *_counts_hold(interactions, fates, store),
        *_detectors_hold(system.settings, recorded, store),
        *_people_know(system, store),
        *_processes_behave(system),
    ]
    figures = {
        "messages": len(interactions),
        "stored": len(fates.stored),
        "dead-lettered": len(fates.dead),
        "duplicate": len(fates.duplicate),
        "lost": len(interactions) - len(fates.stored | fates.dead | fates.duplicate),
        "rows twice": len(rows) - len(set(rows.values())),
        "copies that a merge removes": copies,
        "pages": int(store.query("SELECT count() AS n FROM pages FINAL")[0]["n"]),
        "notifications": len(system.receiver.ids),
        "repeated notifications": _repeats(system),
    }
    return findings, figures


def _rows(store: Store) -> dict[Place, Key]:
    """Every row's source, and its key."""
    sql = """SELECT application, interaction_id AS id, toUInt32(toStartOfHour(occurred_at)) AS hour,
                    source_partition AS p, source_offset AS o
             FROM interactions FINAL WHERE cityHash64(interaction_id) % {n:UInt8} = {i:UInt8}"""
    found: dict[Place, Key] = {}
    for part in range(8):  # within the limit on the rows of one answer
        for row in store.query(sql, {"n": 8, "i": part}):
            found[int(row["p"]), int(row["o"])] = row["application"], row["id"], int(row["hour"])
    return found


def _dead_letters(store: Store) -> set[Place]:
    sql = "SELECT source_partition AS p, source_offset AS o FROM dead_letters FINAL WHERE topic = {topic:String}"
    return {(int(row["p"]), int(row["o"])) for row in store.query(sql, {"topic": INTERACTIONS})}


def _key(value: bytes | None) -> Key | None:
    """Application, id and hour of an interaction; None for nonsense."""
    try:
        found = json.loads(value or b"")
        occurred = datetime.fromisoformat(found["occurred_at"]).timestamp()
        return found["application"], found["interaction_id"], int(occurred) // 3600 * 3600
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _duplicates(interactions: Mapping[Place, bytes | None], rows: Mapping[Place, Key]) -> Iterator[Place]:
    keys = set(rows.values())
    return (place for place, value in interactions.items() if place not in rows and _key(value) in keys)


def _rows_hold(
    interactions: Mapping[Place, bytes | None], rows: Mapping[Place, Key], fates: Fates
) -> Iterator[Finding]:
    several = [key for key, count in Counter(rows.values()).items() if count > 1]
    yield Finding("no interaction has two rows", _some(several))
    yield Finding("no row is of nothing that was published", _some(rows.keys() - interactions.keys()))
    yield Finding("each row holds what its source says", _some(p for p in rows if rows[p] != _key(interactions.get(p))))
    lost = interactions.keys() - fates.stored - fates.dead - fates.duplicate
    yield Finding("no record was lost", _some(lost))
    yield Finding("no record is stored and dead-lettered", _some(fates.stored & fates.dead))


def _ledger_holds(
    interactions: Mapping[Place, bytes | None], fates: Fates, audited: Mapping[str, Any]
) -> Iterator[Finding]:
    total = audited["total"]
    bad = [total] if total["lost"] or total["waiting"] else []
    yield Finding("`tocsin audit`: nothing lost, nothing waits", _some(bad))
    wrong = []
    for each in audited["partitions"]:
        if each["topic"] == INTERACTIONS:
            own = fates.counts(each["partition"])
            own["produced"] = sum(place[0] == each["partition"] for place in interactions)
            wrong += [(each["partition"], name, each[name], own[name]) for name in own if each[name] != own[name]]
    yield Finding("the ledger's counts are those of the topic and the tables", _some(wrong))


def _promises_hold(load: Load, rows: Mapping[Place, Key], store: Store) -> Iterator[Finding]:
    """Of what was acknowledged; a clock that was wrong may have refused interactions, which then are dead letters."""
    kept = {(application, name) for application, name, _ in rows.values()}
    sql = """SELECT JSONExtractString(raw, 'application') AS application, JSONExtractString(raw, 'interaction_id') AS id
             FROM dead_letters FINAL WHERE topic = {topic:String} AND reason IN {reasons:Array(String)}"""
    letters = store.query(sql, {"topic": INTERACTIONS, "reasons": sorted(CLOCK_REASONS)})
    kept |= {(row["application"], row["id"]) for row in letters}
    yield Finding("everything that was acknowledged is stored or dead-lettered", _some(load.acknowledged - kept))


def _counts_hold(interactions: Mapping[Place, bytes | None], fates: Fates, store: Store) -> Iterator[Finding]:
    """What the pages show, per application and minute."""
    sql = """SELECT application, toUInt32(toStartOfMinute(occurred_at)) AS minute, count() AS n
             FROM interactions FINAL GROUP BY application, minute"""
    shown = {(row["application"], int(row["minute"])): int(row["n"]) for row in store.query(sql)}
    own: Counter[tuple[str, int]] = Counter()
    for place in fates.stored:
        found = json.loads(interactions[place] or b"")
        seconds = int(datetime.fromisoformat(found["occurred_at"]).timestamp())
        own[found["application"], seconds // 60 * 60] += 1
    yield Finding("counts by minute are those of a recount", _some(shown.items() ^ own.items()))


def _detectors_hold(settings: Settings, recorded: Recorded, store: Store) -> Iterator[Finding]:
    rules, recovery = rules_of(settings), Recovery(store)
    by_partition: dict[int, list[bytes]] = {}
    for (partition, _), value in recorded.topics[SIGNALS].items():
        by_partition.setdefault(partition, []).append(value or b"")
    differing, pages = [], set[str]()
    for partition, values in by_partition.items():
        monitor = PartitionMonitor(rules)
        events = monitor.apply([SIGNALS_MESSAGE.validate_python(orjson.loads(value)) for value in values], {})
        pages |= {event.page.page_id for event in events if isinstance(event, Raised)}
        stored = recovery.detector_states(partition)[1]
        for name, watched in monitor.applications.items():
            for segment, part in snapshot.changed_parts(watched).items():
                if stored.get(name, {}).get(segment) != part:
                    differing.append((name, segment))
    yield Finding("detector states are those of one run over the signals, bit for bit", _some(differing))
    kept = {row["page_id"] for row in store.query("SELECT page_id FROM pages FINAL")}
    yield Finding("the pages are those of that run", _some(kept ^ pages))
    said = {json.loads(value or b"")["page_id"] for value in recorded.topics[PAGES].values()}
    yield Finding("every page went on its way", _some(kept ^ said))


def _people_know(system: System, store: Store) -> Iterator[Finding]:
    pages = {row["page_id"] for row in store.query("SELECT page_id FROM pages FINAL")}
    joined = {page for row in store.query("SELECT page_ids FROM incidents FINAL") for page in row["page_ids"]}
    yield Finding("every page belongs to an incident", _some(pages ^ joined))
    planned = store.query("SELECT notification_id AS id, state FROM notifications FINAL")
    yield Finding("every notification is marked as sent", _some(row["id"] for row in planned if row["state"] != "sent"))
    missing = {row["id"] for row in planned} ^ system.receiver.ids.keys()
    yield Finding("every notification arrived", _some(missing) if planned else "there was none: the load is too small")
    yield Finding("every page was told", _some(pages ^ system.receiver.told.keys()))
    kills = sum(count for name, count in system.done.items() if name.endswith((" respond", " respond 2", " tocsin")))
    repeats = _repeats(system)
    yield Finding("it repeats at most once for each kill", _some([(repeats, kills)] if repeats > kills else []))


def _repeats(system: System) -> int:
    """Notifications that came again, and pages that came again in another one."""
    ids, told = system.receiver.ids, system.receiver.told
    return ids.total() - len(ids) + told.total() - len(told)


def _processes_behave(system: System) -> Iterator[Finding]:
    logs = system.logs()
    yield Finding("no log holds content", _some([MARK] if MARK in logs else []))
    raised = [line for before, line in pairwise(logs.splitlines()) if before.startswith("  ") and line[:1].strip()]
    yield Finding("no process ended with a traceback", _some(raised if "Traceback" in logs else []))
    slow = [f"{name} {seconds:.1f} s" for name, seconds in system.stops if seconds > STOP_SECONDS]
    yield Finding(f"SIGTERM ends a process within {STOP_SECONDS} s", _some(slow))


def _some(wrong: Iterable[object]) -> str:
    """The first of what is wrong, and how much of it there is."""
    found = list(wrong)
    return f"{len(found)}: {', '.join(str(each)[:200] for each in found[:3])}" if found else ""
