"""Scores some texts again with another group of people in them, and stores how much each signal moved.

It shares the scorer of the score stage, a few texts at a time and a bounded number an hour, so that scoring does not
notice. What was swapped is known by its row; after a restart it begins an hour back and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from detectors.fairness import Swap, swapped
from detectors.scoring import Scores
from sinks.clickhouse import Store
from sinks.people import People
from streams.scoring import Scoring
from tocsin.contracts import Interaction

LOOKS_BACK = timedelta(hours=1)
AT_A_TIME = 8
OF_A_TEXT = 4
SIDES = ("prompt", "response")


class Swapping:
    """The swaps of one worker; `advance` is one round and blocks."""

    every_seconds = 30.0

    def __init__(
        self, store: Store, scorer: Scoring, signals: Sequence[str], per_hour: int, clock: Callable[[], datetime]
    ) -> None:
        self._store, self._people, self._scorer, self._clock = store, People(store), scorer, clock
        self._signals, self._per_hour = tuple(signals), per_hour
        self._seen = clock() - LOOKS_BACK

    def advance(self) -> int:
        """Swap in the next few interactions that mention a group; how many texts were scored again.

        Of many that were stored at once only a few are taken: it is a sample.
        """
        left = self._per_hour - self._people.swaps_since(self._clock() - LOOKS_BACK)
        if left <= 0:
            return 0
        rows = self._people.to_swap(self._seen, AT_A_TIME)
        made = [found for row in rows for found in self._of(row)][:left]
        if made:
            self._store.insert("swaps", made)
        if rows:
            self._seen = rows[-1]["stored_at"]
        return len(made)

    def _of(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        found = [(side, swap) for side in SIDES for swap in swapped(row[side])[:OF_A_TEXT]]
        if not found:
            return []
        original = Interaction(
            interaction_id=row["interaction_id"],
            application=row["application"],
            prompt=row["prompt"],
            response=row["response"],
        )
        others = [original.model_copy(update={side: swap.text}) for side, swap in found]
        before, *after = self._scorer.score([original, *others])
        return [self._row(row, *each, before, scores) for each, scores in zip(found, after, strict=True)]

    def _row(self, row: dict[str, Any], side: str, swap: Swap, before: Scores, after: Scores) -> dict[str, Any]:
        both = [name for name in self._signals if name in before.signals and name in after.signals]
        return {
            "application": row["application"],
            "interaction_id": row["interaction_id"],
            "side": side,
            "family": swap.family,
            "before": swap.before,
            "after": swap.after,
            "scored_at": self._clock(),
            "gaps": {name: after.signals[name] - before.signals[name] for name in both},
            "heads": after.heads,
        }
