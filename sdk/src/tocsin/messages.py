"""What the stages say to each other on Kafka: scored interactions, pages and commands.

Services never write these; they are public because analysts and other tools may read the topics.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from tocsin.contracts import SCHEMA_VERSION, Contract, Identifier, Model, Moment, Name, PromptTemplate

TOPICS = ("tocsin.interactions", "tocsin.feedback", "tocsin.signals", "tocsin.pages", "tocsin.commands")
INTERACTIONS, FEEDBACK, SIGNALS, PAGES, COMMANDS = TOPICS


def _packed(text: str) -> str:
    try:
        bits = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None
    if len(bits) % 2:
        raise ValueError("is not a list of 16-bit numbers")
    return text


PackedVector = Annotated[str, AfterValidator(_packed)]


class Source(Contract):
    """Where a message came from; a reader keeps one mark for each topic and partition, and drops what it has seen."""

    topic: Name
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class Scored(Contract):
    """One scored interaction, without its texts: what the watch stage needs."""

    kind: Literal["scored"] = "scored"
    schema_version: Literal[1] = SCHEMA_VERSION
    source: Source
    interaction_id: Identifier
    application: Name
    occurred_at: Moment
    session_id: Identifier | None = None
    model: Model | None = None
    prompt_template: PromptTemplate | None = None
    attributes: dict[str, str] = Field(default_factory=dict)
    signals: dict[str, float]
    labels: dict[str, str] = Field(default_factory=dict)
    flags: list[str] = Field(default_factory=list)
    prompt_vector: PackedVector = Field(description="bfloat16, little endian, base64")
    response_vector: PackedVector = Field(description="bfloat16, little endian, base64")
    encoder: str = Field(description="fingerprint of what made the vectors")


class Joined(Contract):
    """An application has a reference now and shares the page budget; sent to every partition."""

    kind: Literal["joined"] = "joined"
    schema_version: Literal[1] = SCHEMA_VERSION
    application: Name


class Rearm(Contract):
    """An incident was resolved: the streams of its application start afresh, latched ones may page again."""

    kind: Literal["rearm"] = "rearm"
    schema_version: Literal[1] = SCHEMA_VERSION
    source: Source
    application: Name
    incident_id: Identifier


ACCEPTED = "accepted-"


class Propose(Contract):
    """A retraining run succeeded, or a person accepted a change: collect a reference from what follows.

    Of the model version that the run named, if it did. Where a person asked, the run's id begins with `ACCEPTED`.
    """

    kind: Literal["propose"] = "propose"
    schema_version: Literal[1] = SCHEMA_VERSION
    source: Source
    application: Name
    run_id: Identifier
    model_version: str = ""


class Promote(Contract):
    """A person accepted a proposed reference."""

    kind: Literal["promote"] = "promote"
    schema_version: Literal[1] = SCHEMA_VERSION
    source: Source
    application: Name
    reference_id: Identifier


SignalsMessage = Annotated[Scored | Joined | Rearm | Propose | Promote, Field(discriminator="kind")]
SIGNALS_MESSAGE: TypeAdapter[SignalsMessage] = TypeAdapter(SignalsMessage)


class Exemplar(Contract):
    """An interaction that shows the change, and how much it speaks for it."""

    interaction_id: Identifier
    score: float


class Effect(Contract):
    """How large a change is: a quantity before (in the reference) and now, with a 95 % interval where one is known.

    Of embeddings `now` is read off the units since the estimated beginning, their later half or their last quarter,
    whichever shows the change best; the interval is that of the chosen units.
    """

    quantity: str
    before: float
    now: float
    low: float | None = None
    high: float | None = None
    units: int = Field(ge=0, description="units that `now` was read off")


class Moved(Contract):
    """The evidence of another stream at the time of a page."""

    stream: str
    evidence: float


class VersionShift(Contract):
    """A version or attribute whose share changed: a deployment, or a group that moved."""

    field: str
    value: str
    share_before: float
    share_now: float


class ClusterShift(Contract):
    """A cluster of the reference whose share of the traffic changed, with an interaction of now that lies in it."""

    cluster: int = Field(ge=0)
    share_before: float
    share_now: float
    interaction_id: str = ""


class SegmentEvidence(Contract):
    """Evidence of a page's stream in one segment (`field=value`; "" is the whole application) at that time."""

    segment: str
    evidence: float


class Page(Contract):
    """The detector's cry, with its explanation."""

    schema_version: Literal[1] = SCHEMA_VERSION
    page_id: Identifier
    application: Name
    stream: Name
    segment: str = Field(default="", description="field=value of the part of the traffic; empty: all of it")
    lane: Name
    reference_id: Identifier
    position: int = Field(ge=1, description="units of the stream since its reference or last re-arming")
    interaction_id: Identifier = Field(description="the interaction that completed the evidence")
    occurred_at: Moment
    began_at: Moment = Field(description="estimate of the beginning")
    units_since_beginning: int = Field(ge=1)
    evidence: float
    threshold: float = Field(description="budget inflow that was at stake, in pages")
    share: float | None = Field(default=None, description="estimated share of traffic that is affected, 0 to 1")
    effect: Effect
    exemplars: list[Exemplar] = Field(default_factory=list)
    ordinary: list[Exemplar] = Field(default_factory=list, description="members of the reference, for comparison")
    moved: list[Moved] = Field(default_factory=list)
    versions: list[VersionShift] = Field(default_factory=list)
    clusters: list[ClusterShift] = Field(default_factory=list, description="clusters of the traffic then and now")
    segments: list[SegmentEvidence] = Field(default_factory=list, description="evidence of this stream by segment")
    attribution: Literal["users", "model", "both", "unclear"] | None = Field(
        default=None, description="who changed, by the evidence of prompts, responses and responses given prompts"
    )
    configuration: str = Field(description="hash of the settings that the page depends on")


class Acknowledge(Contract):
    """A person has seen an incident."""

    kind: Literal["acknowledge"] = "acknowledge"
    schema_version: Literal[1] = SCHEMA_VERSION
    incident_id: Identifier
    actor: str
    given_at: Moment


class Resolve(Contract):
    """A person closes an incident; its streams are armed again."""

    kind: Literal["resolve"] = "resolve"
    schema_version: Literal[1] = SCHEMA_VERSION
    incident_id: Identifier
    actor: str
    given_at: Moment
    note: str = ""


class ProposeReference(Contract):
    """A person accepts a change: a reference is to be collected from the traffic that follows."""

    kind: Literal["propose"] = "propose"
    schema_version: Literal[1] = SCHEMA_VERSION
    application: Name
    actor: str
    given_at: Moment


class PromoteReference(Contract):
    """A person makes a proposed reference the current one."""

    kind: Literal["promote"] = "promote"
    schema_version: Literal[1] = SCHEMA_VERSION
    application: Name
    reference_id: Identifier
    actor: str
    given_at: Moment


class RunStatus(Contract):
    """A retraining job reports; verified by the token of its run before it gets here."""

    kind: Literal["run_status"] = "run_status"
    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: Identifier
    state: Literal["running", "succeeded", "failed"]
    given_at: Moment
    model_version: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    detail: str = Field(default="", max_length=2000)


Command = Annotated[
    Acknowledge | Resolve | ProposeReference | PromoteReference | RunStatus, Field(discriminator="kind")
]
COMMAND: TypeAdapter[Command] = TypeAdapter(Command)


def subject_of(command: Command) -> str:
    """What a command is about, which is its key: those about one thing stay in order."""
    match command:
        case Acknowledge() | Resolve():
            return command.incident_id
        case ProposeReference() | PromoteReference():
            return command.application
        case RunStatus():
            return command.run_id


def pack_vector(bits: bytes) -> str:
    """Vector bytes (bfloat16, little endian) as text."""
    return base64.b64encode(bits).decode("ascii")


def unpack_vector(text: str) -> bytes:
    """The inverse of `pack_vector`.

    Raises:
        ValueError: not base64.
    """
    return base64.b64decode(text, validate=True)
