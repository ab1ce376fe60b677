"""A model as a judge, behind any OpenAI-compatible endpoint: asked twice, once in each order, for strict JSON.

    Evaluation + texts ─▶ two requests ─▶ Judged | Unusable | Unavailable

What the endpoint answers never raises: late, wrong, 429 and 500 are values. Texts are in no log and no reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from streams.scorers.catalogue import Evaluation

LONGEST_TEXT = 12_000
LONGEST_WAIT = 60.0
LONGEST_ANSWER = 200_000
PREFERRED: Mapping[str, float] = {"given": 1.0, "tie": 0.5, "reference": 0.0}


@dataclass(frozen=True)
class Judged:
    """A verdict: what was said in each order, and the mean of both scores; `agrees` where both say the same."""

    first: str
    second: str
    score: float

    @property
    def agrees(self) -> bool:
        """Whether the order made no difference."""
        return self.first == self.second


@dataclass(frozen=True)
class Unusable:
    """The judge answered, and not with a verdict; asking again would spend more for the same."""

    reason: str


@dataclass(frozen=True)
class Unavailable:
    """No answer now; ask again after so many seconds."""

    reason: str
    seconds: float


class Allowance:
    """How many requests may still be sent; every try of one counts."""

    def __init__(self, calls: int) -> None:
        self.granted, self.left = calls, calls

    @property
    def used(self) -> int:
        """How many were sent."""
        return self.granted - self.left

    def take(self) -> None:
        """Spend one, or raise `_TryLater`."""
        if self.left <= 0:
            raise _TryLater("the budget of calls is spent", None, final=True)
        self.left -= 1


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: str


class _TryLater(Exception):
    """No answer, or one that says later."""

    def __init__(self, reason: str, after: float | None, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.after, self.final = reason, after, final


class _Again(_TryLater):
    """Worth another try within this round."""


class _Wrong(Exception):
    """An answer that is no verdict."""


class Judge:
    """Asks one model.

    Args:
        url: base of the API; `/chat/completions` is below it.
        model: name of the model.
        key: bearer token, or "".
        timeout: seconds for one request.
        tries: of one request.
        structured: whether to send the schema of the verdict as `response_format`.
        parameters: further fields of every request.
        sleep: how to wait between tries; tests pass their own.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str,
        *,
        timeout: float,
        tries: int,
        structured: bool,
        parameters: Mapping[str, Any],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.model, self._url = model, f"{url.rstrip('/')}/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout, self._tries, self._structured, self._parameters = timeout, tries, structured, dict(parameters)
        self._sleep, self._tls = sleep, httpx.create_ssl_context()

    async def ask(
        self, evaluation: Evaluation, prompt: str, response: str, reference: str, allowance: Allowance
    ) -> Judged | Unusable | Unavailable:
        """One verdict, from two requests."""
        texts = prompt, response, reference
        try:
            async with httpx.AsyncClient(timeout=self._timeout, headers=self._headers, verify=self._tls) as client:
                said = [await self._one(client, evaluation, texts, turned, allowance) for turned in (False, True)]
        except _TryLater as later:
            return Unavailable(later.reason, later.after if later.after is not None else LONGEST_WAIT)
        except _Wrong as wrong:
            return Unusable(str(wrong))
        scores = PREFERRED if evaluation.kind == "compare" else {each.name: each.score for each in evaluation.options}
        return Judged(said[0], said[1], (scores[said[0]] + scores[said[1]]) / 2)

    async def _one(
        self,
        client: httpx.AsyncClient,
        evaluation: Evaluation,
        texts: tuple[str, str, str],
        turned: bool,
        allowance: Allowance,
    ) -> str:
        names = _names(evaluation, turned)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(evaluation, *texts, turned),
            **self._parameters,
        }
        if self._structured:
            body["response_format"] = _schema(list(names))
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_attempt(self._tries),
            wait=_wait,
            reraise=True,
            sleep=self._sleep,
        )
        async for attempt in retrying:
            with attempt:
                return names[_verdict(await self._post(client, body, allowance), names)]
        raise AssertionError("tenacity ends by returning or raising")

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any], allowance: Allowance) -> bytes:
        allowance.take()
        try:
            # a limit of its own, since the client's is for each read: a judge that drips would keep us for ever
            async with asyncio.timeout(self._timeout), client.stream("POST", self._url, json=body) as answer:
                raw = b""
                async for piece in answer.aiter_bytes():
                    raw += piece
                    if len(raw) > LONGEST_ANSWER:
                        raise _Wrong("the answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise _Again(type(error).__name__, None) from None
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.status_code >= 500:
            after = _seconds(answer.headers.get("retry-after", ""))
            kind = _TryLater if after is not None and after > LONGEST_WAIT else _Again
            raise kind(f"HTTP {answer.status_code}", after)
        if answer.status_code in (401, 403, 404):  # the configuration's fault, and no answer's
            raise _TryLater(f"HTTP {answer.status_code}", None)
        if answer.is_error:
            raise _Wrong(f"HTTP {answer.status_code}")
        return raw


def messages(evaluation: Evaluation, prompt: str, response: str, reference: str, turned: bool) -> list[dict[str, str]]:
    """What the judge is sent; `turned` gives the options, or the two answers, in the other order.

    Texts stand between marks that they cannot hold by chance or on purpose.
    """
    texts = [("request", prompt)]
    if evaluation.kind == "compare":
        answers = (reference, response) if turned else (response, reference)
        texts += [("answer A", answers[0]), ("answer B", answers[1])]
        choices = ["A: answer A is better", "B: answer B is better", "tie: neither is clearly better"]
    else:
        texts.append(("answer", response))
        options = evaluation.options[::-1] if turned else evaluation.options
        choices = [f"{option.name}: {option.meaning}" for option in options]
    mark = blake2b("\0".join((evaluation.sha, *(text for _, text in texts))).encode(), digest_size=8).hexdigest()
    parts = [f"[{mark} {name}]\n{_cut(text)}\n[{mark} end of {name}]" for name, text in texts]
    asked = "Verdicts:\n" + "\n".join(f"- {choice}" for choice in choices)
    form = 'Answer with nothing but JSON: {"verdict": "…"} with one of these verdicts.'
    return [
        {"role": "system", "content": evaluation.instructions.strip()},
        {"role": "user", "content": "\n\n".join([*parts, asked, form])},
    ]


def _names(evaluation: Evaluation, turned: bool) -> dict[str, str]:
    """What the judge may say, and what that means."""
    if evaluation.kind == "compare":
        return {"A": "reference" if turned else "given", "B": "given" if turned else "reference", "tie": "tie"}
    return {option.name: option.name for option in evaluation.options}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}\n[cut here: {len(text)} characters in all]"


def _schema(names: list[str]) -> dict[str, Any]:
    verdict = {"type": "string", "enum": names}
    shape = {"type": "object", "properties": {"verdict": verdict}, "required": ["verdict"]}
    schema = {"name": "verdict", "strict": True, "schema": {**shape, "additionalProperties": False}}
    return {"type": "json_schema", "json_schema": schema}


def _verdict(raw: bytes, names: Mapping[str, str]) -> str:
    try:
        said = json.loads(raw)["choices"][0]["message"]["content"]
        verdict = _Answer.model_validate_json(said).verdict
    except ValidationError:
        raise _Wrong("the verdict is not the JSON that was asked for") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _Wrong("the answer is no chat completion") from None
    if verdict not in names:
        raise _Wrong("the verdict is none of those that were offered")
    return verdict


def _seconds(header: str) -> float | None:
    """Retry-After in seconds; the form that names a date is left to the usual waits."""
    return float(header) if header.isascii() and header.isdigit() and len(header) < 8 else None


_backoff = wait_random_exponential(max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, _TryLater) else None
    return after if after is not None else _backoff(state)
