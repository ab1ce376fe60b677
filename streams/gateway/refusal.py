"""Answers that say no, with what the caller can do about it and never what they sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

MOST_FAULTS = 20
UNION_FIELDS = frozenset({"prompt", "value"})
"""Fields of more than one type: pydantic adds the type it tried to the place of the fault."""


class Fault(NamedTuple):
    """One field that is wrong, by its place such as `0.usage.cost`."""

    field: str
    problem: str


class Refusal(Exception):
    """Ends a request with an answer. Callers of the endpoints see the answer, never the exception."""

    def __init__(
        self, status: int, message: str, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self._message = message
        self._faults = faults
        self.headers = headers

    def response(self) -> Response:
        """The answer."""
        error: dict[str, Any] = {"message": self._message}
        if self._faults:
            error["fields"] = [fault._asdict() for fault in self._faults]
        return JSONResponse({"error": error}, self.status, self.headers)


def try_later(status: int, message: str, retry_after_seconds: int) -> Refusal:
    """Nothing is wrong with the request; the same may be sent again."""
    return Refusal(status, message, headers={"Retry-After": str(retry_after_seconds)})


def invalid(error: ValidationError, *, skip: int = 0) -> Refusal:
    """400 with the fields at fault; `skip` leading parts of each place say nothing to the caller."""
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        problem = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        problems.setdefault(_place(detail["loc"][skip:]), []).append(problem)
    faults = [Fault(field, " or ".join(said)) for field, said in list(problems.items())[:MOST_FAULTS]]
    return Refusal(400, "not valid; nothing of this request was taken", faults)


def _place(parts: Sequence[int | str]) -> str:
    named = [str(part) for i, part in enumerate(parts) if i == 0 or parts[i - 1] not in UNION_FIELDS]
    # a field's name may be the caller's own: hundreds of kilobytes long, or not encodable
    return (".".join(named) or "body")[:200].encode("utf-8", "replace").decode()
