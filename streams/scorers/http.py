"""A signal that another program computes, asked over HTTP.

    POST url    {"texts": ["…", …]}    or    {"interactions": [{"prompt": "…", "response": "…", …}, …]}
    answer      {"outputs": {"name": [0.5, null, …], …}}    as many numbers as were asked for; null: does not apply

A call takes its time limit at most, in all, however the server behaves. After failures in a row nobody is asked for a
while, so that a dead server costs the stage a few time limits and no more. Whatever fails, the numbers are absent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from threading import Lock, Thread
from typing import Any

import httpx
import numpy as np
from pydantic import BaseModel

from detectors.signals import Exchanges, FloatArray, InteractionSignal, Output, Readings, Texts, TextSignal
from streams.scorers.breaker import Breaker
from streams.settings import HttpScorer

__all__ = ["ScorerPausedError", "WrongAnswerError", "open_http_scorer"]


class ScorerPausedError(Exception):
    """The scorer failed several times in a row and is not asked for a while."""


class WrongAnswerError(Exception):
    """The scorer answered something else than the numbers it was asked for."""


class _Answer(BaseModel):
    outputs: dict[str, list[float | None]]


class _Endpoint:
    """One server: its connections, its breaker and its time limit."""

    def __init__(self, settings: HttpScorer, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._breaker = Breaker(settings.failures, settings.pause_seconds, clock)
        self._client: httpx.AsyncClient | None = None

    def columns(self, field: str, items: Sequence[Any]) -> dict[str, FloatArray]:
        """A column of numbers for each output; blocks for the time limit at most.

        Raises:
            ScorerPausedError, WrongAnswerError, TimeoutError, httpx.HTTPError: there are none.
        """
        if not self._breaker.allows():
            raise ScorerPausedError
        asked = asyncio.wait_for(self._ask(field, items), self._settings.time_limit_seconds)
        try:
            found = asyncio.run_coroutine_threadsafe(asked, _loop()).result()
        except (TimeoutError, httpx.HTTPError, WrongAnswerError):
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return found

    async def _ask(self, field: str, items: Sequence[Any]) -> dict[str, FloatArray]:
        size = self._settings.batch
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        answers = await asyncio.gather(*(self._ask_part(field, part) for part in parts))
        return {each.name: np.concatenate([one[each.name] for one in answers]) for each in self._settings.outputs}

    async def _ask_part(self, field: str, items: Sequence[Any]) -> Mapping[str, FloatArray]:
        if self._client is None:  # made by the loop that uses it
            headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
            headers["Content-Type"] = "application/json"
            self._client = httpx.AsyncClient(headers=headers, timeout=self._settings.time_limit_seconds)
        body = json.dumps({field: items})  # in ASCII, which also carries what is no text
        response = await self._client.post(self._settings.url, content=body)
        response.raise_for_status()
        try:
            outputs = _Answer.model_validate_json(response.content).outputs
        except ValueError:
            raise WrongAnswerError from None  # its text may hold what was asked
        columns = {each.name: np.array(outputs.get(each.name, []), dtype=np.float64) for each in self._settings.outputs}
        if any(len(column) != len(items) for column in columns.values()):
            raise WrongAnswerError
        return columns


class _HttpTexts:
    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def __init__(self, endpoint: _Endpoint, outputs: tuple[Output, ...]) -> None:
        self._endpoint, self.outputs = endpoint, outputs

    def score_texts(self, texts: Texts) -> Readings:
        rows = [row for row, text in enumerate(texts.texts) if text and not text.isspace()]
        found = self._endpoint.columns("texts", [texts.texts[row] for row in rows]) if rows else {}
        numbers = {output.name: np.full(len(texts), np.nan) for output in self.outputs}
        for name, column in found.items():
            numbers[name][rows] = column
        return Readings(numbers)


class _HttpInteractions:
    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def __init__(self, endpoint: _Endpoint, outputs: tuple[Output, ...]) -> None:
        self._endpoint, self.outputs = endpoint, outputs

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        told = {"application", "response", "context", "reference", "attributes"}
        items = [one.model_dump(include=told) | {"prompt": one.prompt_text} for one in exchanges.interactions]
        return Readings(self._endpoint.columns("interactions", items))


def open_http_scorer(
    settings: HttpScorer, clock: Callable[[], float] = time.monotonic
) -> TextSignal | InteractionSignal:
    """A signal of one server. Nothing is sent before the first text; the signal raises, see `guarded`."""
    outputs = tuple(Output(**each.model_dump()) for each in settings.outputs)
    endpoint = _Endpoint(settings, clock)
    return _HttpTexts(endpoint, outputs) if settings.reads == "texts" else _HttpInteractions(endpoint, outputs)


_starting = Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all scorers, on a thread of its own: only a loop can end a call at a time limit."""
    with _starting:
        return _running_loop()


@cache
def _running_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="scorers", daemon=True).start()
    return loop
