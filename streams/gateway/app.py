"""The gateway's routes. What every publishing request goes through in turn is in `passage`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.access import bearer
from streams.gateway.instruments import Instruments
from streams.gateway.otlp import OtlpReceiver
from streams.gateway.passage import BROKER_RETRY_SECONDS, Passage, unauthorised
from streams.gateway.publisher import Publisher
from streams.gateway.refusal import Refusal, invalid, try_later
from streams.gateway.spooling import SpoolingPublisher
from streams.settings import Settings
from tocsin.contracts import Feedback, Interaction, now
from tocsin.messages import COMMANDS, Acknowledge, PromoteReference, ProposeReference, Resolve, RunStatus, subject_of
from tocsin.spool import Spool
from tocsin.transports import Message, encoded, message_of

Endpoint = Callable[[Request], Awaitable[Response]]
OperatorCommand = Annotated[Acknowledge | Resolve | ProposeReference | PromoteReference, Field(discriminator="kind")]

INTERACTIONS: TypeAdapter[list[Interaction]] = TypeAdapter(list[Interaction])
FEEDBACK: TypeAdapter[list[Feedback]] = TypeAdapter(list[Feedback])
OPERATOR_COMMAND: TypeAdapter[OperatorCommand] = TypeAdapter(OperatorCommand)


def create_gateway(
    settings: Settings,
    bootstrap: str,
    *,
    verify_run: Callable[[str, str], bool],
    registry: CollectorRegistry | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Starlette:
    """The gateway as an application; its lifespan holds the producer, which other routes find in `app.state.publisher`.

    It comes up without a broker, keeps on disk what is published meanwhile, and recovers by itself.

    Args:
        settings: the effective settings.
        bootstrap: Kafka's bootstrap servers, separated by commas.
        verify_run: whether a token belongs to a retraining run, by `(run_id, token)`.
        registry: where the metrics live and what `/metrics` shows; by default one of its own.
        prepare: has the topics ready, before the producer connects; blocks, and raises `TopicError`.
    """
    publisher = Publisher(
        bootstrap,
        timeout_seconds=settings.gateway.acknowledge_timeout_seconds,
        max_message_bytes=settings.limits.message_bytes,
        prepare=prepare,
    )
    instruments = Instruments(registry or CollectorRegistry())
    most = settings.gateway.spool_bytes
    spool = Spool(settings.data_directory / "spool", most, keep_all=True) if most else None
    spooling = SpoolingPublisher(publisher, spool, instruments)
    passage = Passage(settings, spooling, instruments)
    otlp = OtlpReceiver(passage, instruments, settings.limits.message_bytes)
    gateway = _Gateway(passage, spooling, verify_run, instruments, otlp)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        publisher.start()
        spooling.start()
        try:
            yield
        finally:
            await spooling.close()
            await publisher.close()

    app = Starlette(routes=gateway.routes(), lifespan=lifespan)
    app.state.publisher = publisher
    return app


class _Gateway:
    """The endpoints."""

    def __init__(
        self,
        passage: Passage,
        publisher: SpoolingPublisher,
        verify_run: Callable[[str, str], bool],
        instruments: Instruments,
        otlp: OtlpReceiver,
    ) -> None:
        self._passage = passage
        self._publisher = publisher
        self._verify_run = verify_run
        self._instruments = instruments
        self._otlp = otlp

    def routes(self) -> list[Route]:
        """Every route, answering refusals and counted."""
        posts = {
            "/v1/interactions": self.interactions,
            "/v1/feedback": self.feedback,
            "/v1/commands": self.command,
            "/v1/retraining/{run_id}/status": self.run_status,
            "/v1/traces": self._otlp.traces,
            "/v1/logs": self._otlp.logs,
        }
        gets = {"/healthz": self.alive, "/readyz": self.ready, "/metrics": self.metrics}
        return [
            *(Route(path, self._answering(path, endpoint), methods=["POST"]) for path, endpoint in posts.items()),
            *(Route(path, self._answering(path, endpoint), methods=["GET"]) for path, endpoint in gets.items()),
        ]

    async def interactions(self, request: Request) -> Response:
        """Publish one interaction or a list: all of them, or none."""
        self._passage.authorise(request, "publish")
        with self._passage.admitted():
            interactions = await self._passage.contracts(request, INTERACTIONS)
            await self._passage.send([message_of(interaction) for interaction in interactions])
        return _accepted([interaction.interaction_id for interaction in interactions])

    async def feedback(self, request: Request) -> Response:
        """Publish one piece of feedback or a list: all of them, or none."""
        self._passage.authorise(request, "publish")
        with self._passage.admitted():
            said = await self._passage.contracts(request, FEEDBACK)
            await self._passage.send([message_of(feedback) for feedback in said])
        return _accepted([feedback.feedback_id for feedback in said])

    async def command(self, request: Request) -> Response:
        """Acknowledge or resolve an incident, ask for or promote a reference, in the name of the key."""
        actor = self._passage.authorise(request, "operate")
        with self._passage.admitted():
            given = await self._passage.fields(request, reserved=("actor", "given_at"))
            try:
                command = OPERATOR_COMMAND.validate_python({**given, "actor": actor, "given_at": now()})
            except ValidationError as error:
                raise invalid(error, skip=1) from None  # a place begins with the kind, which only chose the fields
            key = subject_of(command)
            await self._passage.send([Message(COMMANDS, key.encode(), encoded(command))])
        return _accepted([key])

    async def run_status(self, request: Request) -> Response:
        """A retraining job reports, with the token that its run was given."""
        run_id = request.path_params["run_id"]
        token = bearer(request.headers.get("authorization", ""))
        if not token:
            raise unauthorised("the token of this run is needed: 'Authorization: Bearer TOKEN'")
        if not self._verify_run(run_id, token):
            raise Refusal(403, "this token does not belong to this run")
        with self._passage.admitted():
            given = await self._passage.fields(request, reserved=("kind", "run_id", "given_at"))
            try:
                status = RunStatus.model_validate({**given, "run_id": run_id, "given_at": now()})
            except ValidationError as error:
                raise invalid(error) from None
            await self._passage.send([Message(COMMANDS, subject_of(status).encode(), encoded(status))])
        return _accepted([run_id])

    async def alive(self, _: Request) -> Response:
        """The process lives."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Publishing should work: the broker can be reached, or the spool has room."""
        if status := await self._publisher.ready():
            return JSONResponse({"status": status})
        raise try_later(503, "the broker cannot be reached", BROKER_RETRY_SECONDS)

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics, for keys with the scope `read` where there are keys."""
        self._passage.authorise(request, "read")
        return Response(generate_latest(self._instruments.registry), media_type=CONTENT_TYPE_LATEST)

    def _answering(self, route: str, endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            try:
                response = await endpoint(request)
            except Refusal as refusal:
                response = refusal.response()
            except ClientDisconnect:
                response = Response(status_code=400)  # nobody reads it
            self._instruments.requests.labels(route, str(response.status_code)).inc()
            return response

        return answer


def _accepted(ids: list[str]) -> Response:
    return JSONResponse({"accepted": len(ids), "ids": ids}, 202)
