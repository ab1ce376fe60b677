"""The catalogue of evaluation prompts: versioned files, known by the digest of what they say.

A file is never changed once it has judged: a better wording is a new version beside it, `NAME-vN.toml`. Every verdict
carries the digest, so verdicts of different wordings are never mixed up.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator


class CatalogueError(Exception):
    """An evaluation prompt is not there or cannot be used; one line that names it."""


class Option(BaseModel):
    """One verdict that the judge may give."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z_]{1,40}$")
    meaning: str = Field(min_length=1)
    score: float = Field(ge=0, le=1)


class Evaluation(BaseModel):
    """An evaluation prompt.

    `grade` asks for one of the options, with the options in both orders; `compare` asks which of two answers is better,
    the given one or the reference, with the answers in both orders.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*-v[0-9]+$")
    kind: Literal["grade", "compare"]
    instructions: str = Field(min_length=1)
    options: tuple[Option, ...] = ()
    sha: str = ""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Evaluation:
        names = [option.name for option in self.options]
        if self.kind == "grade" and (len(names) < 2 or len(set(names)) < len(names)):
            raise ValueError("a grade needs two options at least, each with a name of its own")
        if self.kind == "compare" and names:
            raise ValueError("a comparison has no options: its verdicts are A, B and tie")
        return self


class Anchor(BaseModel):
    """A question and an answer whose verdict is beyond doubt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    anchor_id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    evaluation: str
    prompt: str
    response: str
    expected: str


_ANCHORS = TypeAdapter(list[Anchor])


def read_evaluation(name: str) -> Evaluation:
    """An evaluation prompt of the catalogue, or of a file if the name ends in `.toml`.

    Raises:
        CatalogueError: it is not there, or not valid.
    """
    try:
        if name.endswith(".toml"):
            text = Path(name).read_text(encoding="utf-8")
        else:
            text = (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
        found = Evaluation.model_validate(tomllib.loads(text))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise CatalogueError(f"evaluation {name}: no such prompt, or not TOML") from None
    except ValidationError as error:
        raise CatalogueError(f"evaluation {name}: {error.errors(include_input=False)[0]['msg']}") from None
    return found.model_copy(update={"sha": sha256(text.encode()).hexdigest()[:16]})


def read_anchors(evaluations: Sequence[Evaluation]) -> list[Anchor]:
    """The shipped anchors of these evaluation prompts."""
    names = {evaluation.name for evaluation in evaluations}
    text = (resources.files(__name__) / "anchors-v1.json").read_text(encoding="utf-8")
    return [anchor for anchor in _ANCHORS.validate_json(text) if anchor.evaluation in names]
