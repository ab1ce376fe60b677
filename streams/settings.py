"""Settings: `tocsin.toml`, then `TOCSIN_*` environment variables, then command-line flags; the later wins.

A nested field is reached with two underscores: `TOCSIN_GATEWAY__PORT=9000` sets `port` under `[gateway]`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

Port = Annotated[int, Field(ge=0, le=65535)]
SignalName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Scope = Literal["publish", "read", "operate", "raw"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ConfigurationError(Exception):
    """The configuration is wrong; the message is one line that names the field. The process stops with exit 2."""


class Section(BaseModel):
    """One table of `tocsin.toml`; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Broker(Section):
    """Where Kafka is. Without `bootstrap`, an embedded broker keeps its data under `data_directory`."""

    bootstrap: str = Field("", description="host:port, several separated by commas; empty starts the embedded broker")
    partitions: int = Field(4, ge=1, le=1024, description="partitions of each topic, but of pages and commands one")
    replication_factor: int = Field(1, ge=1, le=9, description="copies of each partition, when the topics are created")
    session_timeout_seconds: float = Field(
        6.0, ge=6, le=300, description="silence after which a worker's partitions move"
    )
    embedded_port: Port = Field(0, description="port of the embedded broker; 0 finds a free one")


class ClickHouse(Section):
    """Where results are stored. Without `host`, an embedded engine keeps its data under `data_directory`."""

    host: str = Field("", description="host of the ClickHouse server; empty opens the embedded engine")
    port: Port = Field(8123, description="HTTP port of the ClickHouse server")
    secure: bool = Field(False, description="TLS to the ClickHouse server")
    user: str = Field("default", description="user of the ClickHouse server")
    password: SecretStr = Field(SecretStr(""), description="password of that user")
    database: str = Field("tocsin", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", description="database of our tables")
    cluster: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.{}-]{0,64}$",
        description="cluster, or a macro like {cluster}, whose servers each keep a copy of our tables; empty: none",
    )


class Key(Section):
    """One API key: its hash, never the key itself. `tocsin keys new` makes one."""

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: list[Scope] = Field(min_length=1)


class Gateway(Section):
    """The HTTP front: publishing and the built-in pages."""

    host: str = Field("127.0.0.1", description="address to listen on; beyond loopback, keys and a login are required")
    port: Port = Field(8321, description="port to listen on; 0 finds a free one")
    keys: list[Key] = Field(
        default_factory=list, description="API keys; with none, publishing is open to loopback only"
    )
    login_user: str = Field("", description="user of the web pages; empty means no login")
    login_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of the password of the web pages")
    allowed_hosts: list[str] = Field(default_factory=list, description="further Host headers that the pages answer to")
    max_body_bytes: int = Field(8_000_000, ge=1_000, description="a larger request gets 413, after decompression too")
    max_batch: int = Field(1_000, ge=1, description="interactions in one request")
    max_in_flight: int = Field(64, ge=1, description="requests waiting for the broker; one more gets 429")
    acknowledge_timeout_seconds: float = Field(10, gt=0, description="the longest wait for the broker's answer")
    spool_bytes: int = Field(
        1_000_000_000,
        ge=0,
        description="what may wait in data_directory/spool while the broker is away; 503 with more; 0: 503 at once",
    )


class Worker(Section):
    """The stages, and how whoever supervises them sees how they are."""

    stuck_seconds: float = Field(
        300, ge=0, description="a worker ends if messages wait and it gets nowhere for so long; 0: never"
    )
    host: str = Field("127.0.0.1", description="address of a worker process's `/healthz`, `/readyz` and `/metrics`")
    port: Port | None = Field(None, description="their port; none by default, and `tocsin up` has the gateway's")


class Limits(Section):
    """What is accepted."""

    message_bytes: int = Field(1_048_576, ge=1_000, description="a larger message is a dead letter")
    text_characters: int = Field(100_000, ge=100, description="longer texts are cut and flagged")
    future_seconds: float = Field(600, ge=0, description="an interaction further in the future is a dead letter")
    retention_days: int = Field(
        90, ge=1, le=3650, description="rows older than this go; older interactions are dead letters"
    )
    dead_letter_days: int = Field(14, ge=1, le=365, description="how long the original bytes of dead letters are kept")


class ScorerOutput(Section):
    """One number of an HTTP scorer."""

    name: SignalName
    kind: Literal["scalar", "binary", "probability"] = "scalar"
    description: str = "of an HTTP scorer"
    unit: str = ""
    threshold: float | None = None
    higher_is_worse: bool | None = None
    watched: bool | Literal["prompt", "response"] = True


class HttpScorer(Section):
    """A signal that another program computes; docs/custom-signals.md has the messages."""

    name: SignalName
    url: str = Field(pattern=r"^https?://")
    outputs: list[ScorerOutput] = Field(min_length=1)
    reads: Literal["texts", "interactions"] = "texts"
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    time_limit_seconds: float = Field(1.0, gt=0, le=60)
    batch: int = Field(32, ge=1, le=1_000)
    failures: int = Field(3, ge=1)
    pause_seconds: float = Field(30.0, gt=0)


class HeavySignal(Section):
    """A signal that a large model computes; docs/custom-signals.md says what each kind does."""

    kind: Literal["classifier", "entailment", "guard", "presidio"]
    name: SignalName
    model: str = ""
    labels: list[str] = Field(default_factory=list)
    threshold: float = Field(0.5, ge=0, le=1)
    watched: bool = True


class Scoring(Section):
    """How interactions are encoded."""

    backend: Literal["auto", "onnx", "torch", "cuda"] = Field(
        "auto", description="onnx: int8 on the CPU; torch: on the CPU; cuda: torch on a GPU; auto: cuda, else onnx"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of torch (fp32 or bf16) and of cuda (bf16, fp16 or fp32); auto: the first of these"
    )
    model: str = Field(
        "", description="another sentence-transformers model for drift, a directory or a hub's id; heads keep theirs"
    )
    threads: int = Field(2, ge=1, le=256, description="scoring threads of one worker")
    processes: int = Field(
        0, ge=0, le=256, description="scoring processes instead, of one thread each: better beyond eight cores"
    )
    batch: int = Field(4_000, ge=1, le=10_000, description="most messages taken at once, if they take two seconds")
    http_scorers: list[HttpScorer] = Field(
        default_factory=list, description="signals that other programs compute, asked over HTTP"
    )
    heavy: list[HeavySignal] = Field(default_factory=list, description="signals that large models compute")


class Watch(Section):
    """What is compared with what, and what is worth a page.

    Segments by default are what people ask about first when something changed: language, template, model, and whatever
    attributes a service sends. That is safe to leave on: a value needs a hundredth of the traffic, so ids make no
    segment, an application without such fields has none, and the expected number of false pages stays what it was.
    """

    reference_units: int = Field(
        2_500, ge=2_000, le=200_000, description="units of accepted traffic that make a reference"
    )
    segments: list[str] = Field(
        ["prompt.language", "template", "model", "attribute *"],
        description="fields whose values make segments: labels, `template`, `model`, `attribute NAME`, `attribute *`",
    )
    most_segments: int = Field(32, ge=1, le=256, description="segments of an application at most, the largest ones")
    segment_share: float = Field(
        0.5, gt=0, lt=1, description="part of an application's budget that its watched segments share alike"
    )
    signals: dict[str, bool] = Field(
        default_factory=dict,
        description="by name, whether a signal is watched; the others are as docs/signals.md says",
    )
    least_effect: float = Field(
        0.0,
        ge=0,
        description="smaller changes page nobody: in standard deviations, or a share for novelty and rates; 0: off",
    )
    least_effects: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="the same for single streams, by name"
    )


class Application(Section):
    """Settings of one application."""

    weight: float = Field(1.0, gt=0, description="its share of the page budget, relative to the other applications")


class Budget(Section):
    """The promise: expected false pages over everything that is watched."""

    pages_per_30_days: float = Field(1.0, gt=0, le=1000, description="expected false pages in 30 days, at most")


class Fairness(Section):
    """Whether groups of people are treated alike: each value of a grouping against the others, signal by signal."""

    groupings: list[str] = Field(
        ["prompt.groups"],
        description="fields whose values are compared: labels, `template`, `model`, `attribute NAME`; empty: none",
    )
    signals: list[str] = Field(
        [
            "refusal",
            "response.toxicity",
            "response.identity_attack",
            "relevance",
            "response.length_tokens",
            "latency_ms",
        ],
        min_length=1,
        description="what is compared: the rate above its threshold, the mean, or the place among other values",
    )
    least_units: int = Field(200, ge=30, description="units of a group and of the others, before anything is said")
    least_effect: float = Field(
        0.01, ge=0, le=1, description="smaller gaps page nobody: a difference of rates or places"
    )
    budget_share: float = Field(
        0.05, gt=0, lt=1, description="part of the page budget that all comparisons share, if any grouping is set"
    )
    most_groups: int = Field(16, ge=2, le=256, description="groups of a grouping, the first ones that recur")
    period_days: float = Field(30, ge=1, le=366, description="event time after which a comparison begins anew")
    swaps_per_hour: int = Field(
        60, ge=0, le=3_600, description="texts that are scored again with another group in them; 0: none"
    )


class Judge(Section):
    """A model that grades a sample of the answers. Without `url` nothing is judged and nothing leaves the house."""

    url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="base of an OpenAI-compatible API, such as `https://host/v1`; empty: no judge",
    )
    model: str = Field("", description="model that judges")
    api_key: SecretStr = Field(SecretStr(""), description="sent as bearer token; best set as `TOCSIN_JUDGE__API_KEY`")
    evaluations: list[str] = Field(
        ["helpfulness-v1"], min_length=1, description="evaluation prompts of the catalogue, or paths of `.toml` files"
    )
    sample_rate: float = Field(0.01, gt=0, le=1, description="part of the interactions that is judged")
    calls_per_day: int = Field(
        1_000, ge=0, description="requests to the judge in a day (UTC), at most; a verdict is two"
    )
    calls_per_application: int = Field(200, ge=0, description="the same for each application")
    timeout_seconds: float = Field(60, gt=0, le=600, description="for one request")
    tries: int = Field(4, ge=1, le=10, description="of one request that meets 429, 5xx or no answer; each one counts")
    structured: bool = Field(True, description="ask for the verdict's JSON schema with `response_format`")
    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"temperature": 0}, description="further fields of every request to the judge"
    )
    anchors: bool = Field(True, description="judge the anchor set once a day, to notice that the judge has changed")
    least_agreement: float = Field(
        0.8, ge=0, le=1, description="a day's agreement with the anchor set below this is paged, outside of the budget"
    )


class Notification(Section):
    """Who is told."""

    urls: list[SecretStr] = Field(default_factory=list, description="Apprise URLs, each told of every page")
    group_seconds: float = Field(10, ge=0, description="pages gather this long before they go out as one message")
    follow_up_seconds: float = Field(900, ge=0, description="between two messages about one incident, at least")
    retry_seconds: float = Field(15, gt=0, description="between tries of a message that failed")


class Retraining(Section):
    """What a page starts."""

    target: Literal["none", "command", "webhook"] = Field("none", description="how a retraining run is started")
    command: list[str] = Field(default_factory=list, description="program and arguments; run in the run's directory")
    webhook_url: str = Field("", description="receives the run as a signed POST")
    secret: SecretStr = Field(SecretStr(""), description="signs webhooks; empty: made once and kept in data_directory")
    cooldown_hours: float = Field(24, ge=0, description="between two runs of one application")
    timeout_hours: float = Field(24, gt=0, description="a run without a word by then has failed")


class Settings(BaseSettings):
    """Everything that can be set; every field has a default that works on one machine."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="TOCSIN_", env_nested_delimiter="__", hide_input_in_errors=True
    )

    data_directory: Path = Field(Path("data"), description="everything that the embedded engines and caches keep")
    cache_directory: Path | None = Field(None, description="converted model weights; by default ~/.cache/tocsin")
    public_url: str = Field("", description="address of the pages in messages; by default the gateway's own")
    disk_free_bytes: int = Field(500_000_000, ge=0, description="with less free the gateway answers 503")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="how much is logged, to stderr")
    log_format: Literal["text", "json"] = Field("text", description="text for people, or an object of JSON a line")
    broker: Broker = Field(default_factory=Broker)
    clickhouse: ClickHouse = Field(default_factory=ClickHouse)
    gateway: Gateway = Field(default_factory=Gateway)
    worker: Worker = Field(default_factory=Worker)
    limits: Limits = Field(default_factory=Limits)
    scoring: Scoring = Field(default_factory=Scoring)
    watch: Watch = Field(default_factory=Watch)
    budget: Budget = Field(default_factory=Budget)
    fairness: Fairness = Field(default_factory=Fairness)
    judge: Judge = Field(default_factory=Judge)
    notification: Notification = Field(default_factory=Notification)
    retraining: Retraining = Field(default_factory=Retraining)
    applications: dict[str, Application] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _safe(self) -> Settings:
        if self.gateway.host not in LOOPBACK and not (self.gateway.keys and self.gateway.login_user):
            raise ValueError("gateway.host is not loopback: set gateway.keys and gateway.login_user first")
        if self.worker.host not in LOOPBACK and not self.gateway.keys:
            raise ValueError("worker.host is not loopback: set gateway.keys first")
        if self.gateway.login_user and not self.gateway.login_sha256:
            raise ValueError("gateway.login_user is set without gateway.login_sha256")
        if self.retraining.target == "command" and not self.retraining.command:
            raise ValueError("retraining.target is 'command' without retraining.command")
        if self.retraining.target == "webhook" and not self.retraining.webhook_url:
            raise ValueError("retraining.target is 'webhook' without retraining.webhook_url")
        if self.judge.url and not self.judge.model:
            raise ValueError("judge.url is set without judge.model")
        return self

    @property
    def cache(self) -> Path:
        """Where converted weights lie; they are shared by all installations of a user."""
        return self.cache_directory or Path.home() / ".cache" / "tocsin"

    @property
    def fingerprint(self) -> str:
        """Short hash of what changes a score or a detector's answer; stored with every page."""
        watched = {
            "budget": self.budget.model_dump(),
            "watch": self.watch.model_dump(),
            "scoring": self.scoring.model_dump(include={"backend", "precision", "model", "heavy"}),
            "http_scorers": [
                scorer.model_dump(include={"name", "url", "outputs", "reads"}) for scorer in self.scoring.http_scorers
            ],
            "text_characters": self.limits.text_characters,
            "fairness": self.fairness.model_dump(exclude={"swaps_per_hour"}),
        }
        return sha256(json.dumps(watched, sort_keys=True).encode()).hexdigest()[:12]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sources(file: Path | None, flags: Mapping[str, Any]) -> dict[str, PydanticBaseSettingsSource]:
    """The places settings come from, the strongest first."""
    found: dict[str, PydanticBaseSettingsSource] = {
        "flag": InitSettingsSource(Settings, dict(flags)),
        "environment": EnvSettingsSource(Settings),
    }
    if file is not None:
        found[str(file)] = TomlConfigSettingsSource(Settings, file)
    return found


def _merged(trees: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested tables joined; the first tree wins."""
    merged: dict[str, Any] = {}
    for tree in reversed(trees):
        for key, value in tree.items():
            old = merged.get(key)
            merged[key] = _merged([value, old]) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> tuple[Settings, dict[str, str]]:
    """Read the settings and where each set one came from.

    Args:
        file: the TOML file; by default `tocsin.toml` in the working directory, if it is there.
        flags: values from the command line, nested like the file.

    Raises:
        ConfigurationError: one line that names the field at fault.
    """
    if file is None and Path("tocsin.toml").is_file():
        file = Path("tocsin.toml")
    if file is not None and not file.is_file():
        raise ConfigurationError(f"{file}: no such file")
    _require_separators()
    trees: dict[str, dict[str, Any]] = {}
    try:
        trees |= {name: source() for name, source in _sources(file, flags or {}).items()}
        settings = Settings.model_validate(_merged(list(trees.values())))
    except ValidationError as error:
        raise ConfigurationError(_fault(error, trees)) from None
    except SettingsError as error:  # a variable that should hold a table as JSON
        raise ConfigurationError(str(error)) from None
    except (ValueError, OSError) as error:  # not TOML, not readable
        raise ConfigurationError(f"{file}: {error}") from None
    origin: dict[str, str] = {}
    for name, tree in reversed(trees.items()):
        origin |= dict.fromkeys((key for key, _ in _flat(tree)), name)
    return settings, origin


def _require_separators() -> None:
    """A setting with one underscore where two belong would be passed over in silence.

    Kubernetes sets `TOCSIN_GATEWAY_PORT=tcp://…` by itself beside a service named tocsin-gateway: that is none.
    """
    spelled = [f"TOCSIN_{name.replace('.', '__')}".upper() for name in effective(Settings.model_construct())]
    misspelled = {name.replace("__", "_"): name for name in spelled if "__" in name}
    for name in sorted(misspelled.keys() & os.environ.keys()):
        if os.environ[name].startswith(("tcp://", "udp://")):
            continue
        raise ConfigurationError(f"{name}: there is no such setting; is it {misspelled[name]}?")


def _fault(error: ValidationError, trees: Mapping[str, Mapping[str, Any]]) -> str:
    """What is wrong first, and where that was said."""
    fault = error.errors(include_input=False, include_url=False)[0]
    where, said = ".".join(str(part) for part in fault["loc"]), fault["msg"].removeprefix("Value error, ")
    if not where:
        return said
    sources = [name for name, tree in trees.items() if any(f"{key}.".startswith(f"{where}.") for key, _ in _flat(tree))]
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(where, effective(Settings.model_construct()), 1)
        said = f"there is no such setting{f'; is it {near[0]}?' if near else ''}"
    return f"{where}: {said}{f' ({sources[-1]})' if sources else ''}"


def effective(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted name, secrets hidden."""
    return dict(_flat(settings.model_dump(mode="json")))
