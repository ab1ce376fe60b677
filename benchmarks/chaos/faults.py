"""What can be broken, where, and when: declarations, and a plan that follows from the seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Act = Literal["kill", "terminate", "freeze", "join", "disk", "store", "clock", "scorer", "receiver"]
Form = Literal["together", "apart"]


@dataclass(frozen=True)
class Fault:
    """Something that is done to the system, and undone after a while.

    Attributes:
        act: what is done.
        target: to what, or in which way.
        least, most: seconds until it is undone; a program that was killed is started again then.
    """

    act: Act
    target: str
    least: float
    most: float

    @property
    def name(self) -> str:
        """As the report calls it."""
        return f"{self.act} {self.target}"

    @property
    def place(self) -> str:
        """Where nothing else may be done meanwhile."""
        return self.act if self.act in ("store", "clock") else self.target


@dataclass(frozen=True)
class Scenario:
    """A system, the load on it, and what happens to it meanwhile.

    Attributes:
        form: `tocsin up` in one process, or every role a process of its own.
        words: what the report says about it.
        faults: what is done to it, each at least once if there is time.
        share: of the time of the whole run.
        load: of the interactions, beside what its share of the time would be.
        encoder: the real one instead of one that hashes words.
        brokers: of Apache Kafka; with three, every message has three copies.
        pause: mean seconds from the beginning of a fault to that of the next.
    """

    form: Form
    words: str
    faults: tuple[Fault, ...]
    share: float
    load: float = 1.0
    encoder: bool = False
    brokers: int = 1
    pause: float = 5.0


@dataclass(frozen=True)
class Planned:
    """A fault at its time, in seconds since the load began."""

    fault: Fault
    begin: float
    end: float


ONE_PROCESS = (
    Fault("kill", "tocsin", 0.5, 3),
    Fault("kill", "broker", 0, 0),  # the process itself starts these two again
    Fault("kill", "object-store", 0, 0),
    Fault("terminate", "tocsin", 0, 2),
    Fault("clock", "+86400", 3, 8),
    Fault("clock", "-300", 3, 8),
    Fault("scorer", "slow", 3, 8),
    Fault("receiver", "away", 3, 8),
)
WORKERS = (
    Fault("kill", "score", 0.5, 4),
    Fault("kill", "watch", 0.5, 4),
    Fault("kill", "respond", 0.5, 4),
    Fault("kill", "respond 2", 0.5, 4),
    Fault("freeze", "respond", 8, 14),  # longer than its session: the other one takes over
    Fault("freeze", "score", 8, 14),
    Fault("kill", "gateway", 0.5, 4),
    Fault("kill", "broker", 1, 5),
    Fault("join", "score", 15, 30),
    Fault("terminate", "score", 0, 2),
    Fault("terminate", "watch", 0, 2),
    Fault("terminate", "respond", 0, 2),
    Fault("terminate", "gateway", 0, 2),
    Fault("receiver", "away", 3, 8),
)
STORE = (
    Fault("kill", "store", 2, 8),
    Fault("store", "hang", 3, 12),
    Fault("store", "slow", 3, 12),
    Fault("store", "readonly", 3, 8),
    Fault("disk", "full", 3, 12),
)
TIMES = (
    Fault("clock", "+86400", 3, 8),
    Fault("clock", "-1200", 3, 8),
    Fault("scorer", "slow", 3, 8),
)

SCENARIOS = {
    "together": Scenario("together", "`tocsin up`: one process with the embedded engines", ONE_PROCESS, 0.35),
    "apart": Scenario(
        "apart",
        "a process for each role, over Apache Kafka and a ClickHouse that answers HTTP",
        (*WORKERS, *STORE, *TIMES),
        0.5,
        brokers=3,
    ),
    "encoder": Scenario("apart", "the same with the real encoder", (*WORKERS, *STORE), 0.15, load=0.4, encoder=True),
}
QUICK = {
    name: replace(SCENARIOS[name], share=0.5, brokers=1, pause=pause)
    for name, pause in (("together", 7.0), ("apart", 3.5))
}


def without(scenario: Scenario, act: Act) -> Scenario:
    """The scenario, but for one kind of fault."""
    return replace(scenario, faults=tuple(fault for fault in scenario.faults if fault.act != act))


def plan(faults: Sequence[Fault], seconds: float, pause: float, seed: int) -> list[Planned]:
    """Faults in the order in which they begin: all of them in random order, again and again.

    Several may last at once, but never two at the same place. The last one ends before `seconds`.
    """
    dice = random.Random(seed)
    free: dict[str, float] = {}
    found: list[Planned] = []
    at = pause
    while True:
        for fault in dice.sample(faults, len(faults)):
            begin = max(at, free.get(fault.place, 0.0))
            end = begin + dice.uniform(fault.least, fault.most)
            if end > seconds:
                return sorted(found, key=lambda each: each.begin)
            found.append(Planned(fault, begin, end))
            free[fault.place] = end + 1
            at += dice.uniform(0.3, 1.7) * pause
