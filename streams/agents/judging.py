"""Judges a sample of what was answered, within a budget of calls, and the anchor set once a day.

Read from the tables and written to them, so that a restart goes on where the killed process stood: a verdict has an id
that follows from what is judged, and its row is written, with its calls reserved, before the judge is asked. It runs
beside the respond stage, in the worker that leads; scoring never waits for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sinks.clickhouse import Store
from sinks.people import People
from sinks.rows import page_row
from streams.agents.respond import Surroundings
from streams.agents.rounds import Leads, always
from streams.core.wording import RULE
from streams.metrics import PAGES, VERDICTS
from streams.publisher import Publisher
from streams.scorers.catalogue import Anchor, CatalogueError, Evaluation, read_anchors, read_evaluation
from streams.scorers.judge import Allowance, Judge, Judged, Unavailable, Unusable
from streams.settings import ConfigurationError
from streams.settings import Judge as JudgeSettings
from tocsin import messages
from tocsin.messages import Effect, Page

logger = logging.getLogger(__name__)

LOOKS_BACK = timedelta(days=2)
AT_A_TIME = 10
CALLS_OF_A_VERDICT = 2
ANCHORS = ""
"""The application of the anchor set's rows; no service can have this name."""
JUDGE = "judge"
"""The application of pages about the judge itself."""


@dataclass(frozen=True)
class _Task:
    verdict_id: str
    application: str
    interaction_id: str
    evaluation: Evaluation
    prompt: str
    response: str
    reference: str = ""
    expected: float | None = None


class Judging:
    """One judge and its work; `advance` is one round."""

    every_seconds = 15.0

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        judge: Judge,
        evaluations: Sequence[Evaluation],
        anchors: Sequence[Anchor],
        settings: JudgeSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._publisher, self._judge, self._people = store, publisher, judge, People(store)
        self._evaluations, self._settings, self._clock = evaluations, settings, clock
        self._anchors = list(anchors) if settings.anchors else []
        self._agreed: datetime | None = None

    async def advance(self, leads: Leads = always) -> float | None:
        """Judge what is due and affordable, as long as this worker leads; perhaps says when the next round is."""
        day = self._clock().replace(hour=0, minute=0, second=0, microsecond=0)
        spent = dict(await asyncio.to_thread(self._people.calls_since, day))
        for task in await asyncio.to_thread(self._due, day):
            if not leads():
                return None
            result = await self._judge_one(task, day, spent)
            if isinstance(result, Unavailable):
                logger.warning("the judge is away: %s", result.reason)
                return max(self.every_seconds, result.seconds)
        await self._check_agreement(day)
        return None

    def _due(self, day: datetime) -> list[_Task]:
        """Anchors of the day first, then sampled interactions, of every application in turn."""
        tasks = [self._anchor_task(anchor, day) for anchor in self._anchors]
        for evaluation in self._evaluations:
            rows = self._people.to_judge(
                evaluation.sha,
                self._judge.model,
                self._settings.sample_rate,
                self._clock() - LOOKS_BACK,
                referenced=evaluation.kind == "compare",
                limit=AT_A_TIME,
            )
            tasks += [
                _Task(self._id(row["application"], row["interaction_id"], evaluation), evaluation=evaluation, **row)
                for row in rows
            ]
        known = self._people.verdicts([task.verdict_id for task in tasks])
        return [task for task in tasks if known.get(task.verdict_id, {}).get("state", "planned") == "planned"]

    def _anchor_task(self, anchor: Anchor, day: datetime) -> _Task:
        evaluation = next(each for each in self._evaluations if each.name == anchor.evaluation)
        scores = {option.name: option.score for option in evaluation.options}
        identity = self._id(ANCHORS, f"{day:%Y-%m-%d}/{anchor.anchor_id}", evaluation)
        texts = anchor.prompt, anchor.response
        return _Task(identity, ANCHORS, anchor.anchor_id, evaluation, *texts, expected=scores[anchor.expected])

    def _id(self, application: str, interaction_id: str, evaluation: Evaluation) -> str:
        names = ["tocsin:verdict", application, interaction_id, evaluation.sha, self._judge.model]
        return str(uuid5(NAMESPACE_URL, json.dumps(names)))

    async def _judge_one(
        self, task: _Task, day: datetime, spent: dict[str, int]
    ) -> Judged | Unusable | Unavailable | None:
        """None if it cannot be afforded today."""
        left = self._settings.calls_per_day - sum(spent.values())
        if task.application != ANCHORS:
            left = min(left, self._settings.calls_per_application - spent.get(task.application, 0))
        if left < CALLS_OF_A_VERDICT:
            return None
        known = (await asyncio.to_thread(self._people.verdicts, [task.verdict_id])).get(task.verdict_id)
        before = int(known["calls"]) if known and known["planned_at"] >= day else 0
        version = int(known["version"]) if known else 0
        allowance = Allowance(min(left, CALLS_OF_A_VERDICT * self._settings.tries))
        planned = self._row(task, "planned", before + allowance.granted, version + 1)
        await asyncio.to_thread(self._store.insert, "verdicts", [planned])
        texts = task.prompt, task.response, task.reference
        result = await self._judge.ask(task.evaluation, *texts, allowance)
        state = {Judged: "judged", Unusable: "unusable", Unavailable: "planned"}[type(result)]
        row = self._row(task, state, before + allowance.used, version + 2, result)
        await asyncio.to_thread(self._store.insert, "verdicts", [row])
        spent[task.application] = spent.get(task.application, 0) + allowance.used
        VERDICTS.labels("unavailable" if isinstance(result, Unavailable) else state).inc()
        return result

    def _row(
        self,
        task: _Task,
        state: str,
        calls: int,
        version: int,
        result: Judged | Unusable | Unavailable | None = None,
    ) -> dict[str, Any]:
        judged = result if isinstance(result, Judged) else None
        return {
            "verdict_id": task.verdict_id,
            "application": task.application,
            "interaction_id": task.interaction_id,
            "evaluation": task.evaluation.name,
            "evaluation_sha": task.evaluation.sha,
            "judge_model": self._judge.model,
            "state": state,
            "planned_at": self._clock(),
            "calls": calls,
            "first": judged.first if judged else "",
            "second": judged.second if judged else "",
            "score": judged.score if judged else 0.0,
            "agrees": int(judged.agrees) if judged else 0,
            "expected": task.expected,
            "reason": result.reason if isinstance(result, Unusable | Unavailable) else "",
            "version": version,
        }

    # -- the judge itself ------------------------------------------------------------------------------------------

    async def _check_agreement(self, day: datetime) -> None:
        """Page once all anchors of the day are answered and too few as expected; a rule, outside of the budget."""
        if not self._anchors or self._agreed == day:
            return
        ids = [self._anchor_task(anchor, day).verdict_id for anchor in self._anchors]
        rows = (await asyncio.to_thread(self._people.verdicts, ids)).values()
        if len(rows) < len(ids) or any(row["state"] == "planned" for row in rows):
            return
        agreement = sum(row["state"] == "judged" and row["score"] == row["expected"] for row in rows) / len(rows)
        if agreement < self._settings.least_agreement:
            before = await asyncio.to_thread(self._people.agreement, self._judge.model, day)
            page = self._page(day, 1.0 if before is None else before, agreement, ids)
            await asyncio.to_thread(self._store.insert, "pages", [page_row(page)])
            await self._publisher.publish(messages.PAGES, [(page.application, page)])
            PAGES.labels(page.application).inc()
        self._agreed = day

    def _page(self, day: datetime, before: float, now: float, ids: Sequence[str]) -> Page:
        return Page(
            page_id=str(uuid5(NAMESPACE_URL, json.dumps(["tocsin:agreement", *ids]))),
            application=JUDGE,
            stream="agreement with the anchor set",
            lane=RULE,
            reference_id="the anchor set",
            position=len(ids),
            interaction_id=ids[-1],
            occurred_at=day,
            began_at=day,
            units_since_beginning=len(ids),
            evidence=1.0,
            threshold=self._settings.least_agreement,
            effect=Effect(quantity="share of anchors judged as expected", before=before, now=now, units=len(ids)),
            configuration=self._judge.model,
        )


def open_judging(settings: JudgeSettings, around: Surroundings) -> Judging:
    """The judge that the settings name.

    Raises:
        ConfigurationError: an evaluation prompt is not there or cannot be used.
    """
    try:
        evaluations = [read_evaluation(name) for name in settings.evaluations]
    except CatalogueError as error:
        raise ConfigurationError(f"judge.evaluations: {error}") from None
    judge = Judge(
        settings.url,
        settings.model,
        settings.api_key.get_secret_value(),
        timeout=settings.timeout_seconds,
        tries=settings.tries,
        structured=settings.structured,
        parameters=settings.parameters,
    )
    anchors = read_anchors(evaluations)
    return Judging(around.store, around.publisher, judge, evaluations, anchors, settings, around.clock)
