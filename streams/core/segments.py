"""Segments: parts of an application's traffic that share a value of a field, such as a language or a tenant.

They appear by themselves. Every 1,024 units of the application the largest values are elected: a segment is begun when
it has between 1 % and 90 % of the traffic (a smaller one would learn for ever, a larger one is the application itself)
and forgotten under half of 1 % or over 95 %. There are few places: a newcomer takes that of another only if it is twice
as large, so that segments of like size do not push each other out in turn. A field with a value of its own in every
interaction, such as an id, thus makes no segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ELECTED_EVERY = 1_024
LEAST_SHARE = 0.01
MOST_SHARE = 0.9
LEARNING_AT_ONCE = 4
"""Segments of an application that collect units for a reference at the same time: they are what takes memory."""
DECAY = 0.875  # shares are over about the last 8,192 units
LONGEST_NAME = 100
EVERY_ATTRIBUTE = "attribute *"


def is_configured(field_name: str, configured: Sequence[str]) -> bool:
    """Whether values of a field (see `units.fields_of`) make segments."""
    return field_name in configured or (EVERY_ATTRIBUTE in configured and field_name.startswith("attribute "))


def names_of(fields: Mapping[str, str], configured: Sequence[str]) -> tuple[str, ...]:
    """The segments that a unit is in, as `field=value`.

    >>> names_of({"template": "greet 7", "attribute region": "eu"}, ["template", "attribute *", "model"])
    ('attribute region=eu', 'template=greet 7')
    """
    named = (f"{name}={fields[name]}" for name in sorted(fields) if is_configured(name, configured))
    return tuple(name for name in named if len(name) <= LONGEST_NAME)


@dataclass
class Tally:
    """How much of the traffic each segment has had lately; bounded, since what became rare is dropped.

    Attributes:
        volumes: units of each, older ones weighing less.
        total: units of the application, weighed alike.
    """

    volumes: dict[str, float] = field(default_factory=dict)
    total: float = 0.0

    def add(self, names: Iterable[str]) -> None:
        """Count a unit and the segments that it is in."""
        self.total += 1
        for name in names:
            self.volumes[name] = self.volumes.get(name, 0.0) + 1

    def close(self) -> dict[str, float]:
        """The shares at an election; what was counted weighs less from now on."""
        shares = {name: volume / self.total for name, volume in self.volumes.items()}
        self.total *= DECAY
        self.volumes = {name: left for name, volume in self.volumes.items() if (left := volume * DECAY) >= 1}
        return shares


def elect(
    shares: Mapping[str, float], watched: Iterable[str], learning: Iterable[str], most: int, at_once: int
) -> tuple[set[str], set[str]]:
    """Which segments are watched and which are learning from now on.

    Args:
        shares: of the application's units, by segment.
        watched: segments that have a reference.
        learning: segments that collect one.
        most: segments of an application.
        at_once: segments that may be learning at the same time.
    """

    def order(name: str) -> tuple[float, str]:
        return shares.get(name, 0.0), name

    held = {*watched, *learning}
    large = [name for name in held if LEAST_SHARE / 2 <= shares.get(name, 0.0) <= (1 + MOST_SHARE) / 2]
    kept = set(sorted(large, key=order, reverse=True)[:most])
    old, young = kept & set(watched), kept & set(learning)
    begins = {name for name, share in shares.items() if LEAST_SHARE <= share <= MOST_SHARE} - old - young
    for name in sorted(begins, key=order, reverse=True):
        rivals = young if len(young) >= at_once else old | young if len(old | young) >= most else None
        if rivals is not None:
            weakest = min(rivals, key=order, default=None)
            if weakest is None or shares[name] < 2 * shares[weakest]:
                break
            old.discard(weakest)
            young.discard(weakest)
        young.add(name)
    return old, young
