"""What services publish: interactions with a model, and people's feedback on them.

Names follow OpenTelemetry's GenAI conventions where those exist (see docs/architecture.md). Every message is one JSON
object; `tocsin.schema` exports the JSON Schema. Unknown fields are refused, so that a misspelt field is an error at the
service and not a silent hole in its data.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import uuid_utils
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

SCHEMA_VERSION: Final = 1

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]


def _scalar(value: object) -> object:
    """Numbers and truth values are groups as well as texts are: 5 is "5", and True is "true"."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be finite")
    return str(value).lower() if isinstance(value, bool | int | float) else value


Attribute = Annotated[str, BeforeValidator(_scalar, json_schema_input_type=str | bool | float)]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time with a zone, kept in UTC."""


def new_id() -> str:
    """A UUIDv7: unique, and sorted by the time of its making."""
    return str(uuid_utils.uuid7())


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Contract(BaseModel):
    """What every published object shares: immutable, and closed to unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Turn(Contract):
    """One message of a chat."""

    role: Name
    content: str


class Model(Contract):
    """The model that answered."""

    provider: Name | None = None
    name: Name
    version: Name | None = None


class PromptTemplate(Contract):
    """The template that the prompt was made from."""

    name: Name
    version: Name | None = None


def _by_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _named(kind: type[Contract]) -> BeforeValidator:
    return BeforeValidator(_by_name, json_schema_input_type=kind | Name)


class Usage(Contract):
    """What the call consumed. `cost` is in the currency that the installation reports in."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cost: NonNegative | None = None


class Interaction(Contract):
    """One prompt and the response to it, as a service publishes them."""

    schema_version: Literal[1] = SCHEMA_VERSION
    interaction_id: Identifier = Field(default_factory=new_id)
    occurred_at: Moment = Field(default_factory=now)
    application: Name
    environment: Name = "production"
    prompt: str | list[Turn]
    response: str
    context: list[str] = Field(default_factory=list, description="retrieved passages that the model was given")
    reference: str | None = Field(default=None, description="the expected answer, where one is known")
    model: Annotated[Model, _named(Model)] | None = Field(default=None, description="a text is its name")
    prompt_template: Annotated[PromptTemplate, _named(PromptTemplate)] | None = Field(
        default=None, description="a text is its name"
    )
    session_id: Identifier | None = None
    subject_id: Identifier | None = Field(default=None, description="pseudonymous person, for erasure")
    attributes: dict[Name, Attribute] = Field(default_factory=dict, max_length=64)
    usage: Usage | None = None
    latency_ms: NonNegative | None = None
    time_to_first_token_ms: NonNegative | None = None
    finish_reason: Name | None = None
    error: str | None = None
    history: Literal[True] | None = Field(
        default=None, description="imported or replayed: may be older than the retention, which begins when stored"
    )

    @property
    def prompt_text(self) -> str:
        """The prompt as one text; of a chat, the last message of the user, else the last message."""
        if isinstance(self.prompt, str):
            return self.prompt
        said = [turn.content for turn in self.prompt if turn.role == "user"] or [turn.content for turn in self.prompt]
        return said[-1] if said else ""


class Feedback(Contract):
    """What a person or a program said about an interaction, joined to it by id."""

    schema_version: Literal[1] = SCHEMA_VERSION
    feedback_id: Identifier = Field(default_factory=new_id)
    interaction_id: Identifier
    application: Name
    kind: Literal["rating", "label", "correction", "comment"]
    value: float | str
    author: Identifier | None = None
    given_at: Moment = Field(default_factory=now)

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | str, info: ValidationInfo) -> float | str:
        if isinstance(value, float) and not abs(value) < float("inf"):
            raise ValueError("must be finite")
        if isinstance(value, str) and info.data.get("kind") == "rating":
            raise ValueError("a rating must be a number")
        return value
