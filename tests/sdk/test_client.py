"""What the client promises to the service that calls it, with no broker anywhere."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from datetime import datetime
from threading import Thread
from typing import Any

import pytest

from tocsin import Client, Interaction, Turn
from tocsin.client import InteractionFields

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def adrift() -> Any:
    """A client whose gateway never answers."""
    client = Client("shop", url=NOWHERE, queue_size=10)
    yield client
    client.close(timeout=0)


def test_every_field_of_an_interaction_can_be_published() -> None:
    taken = set(InteractionFields.__annotations__) | {"prompt", "response"}
    # history lets something old in: that is for imports, not for services
    assert taken == set(Interaction.model_fields) - {"schema_version", "history"}


@pytest.mark.parametrize(
    "arguments",
    [{}, {"url": NOWHERE, "bootstrap": "127.0.0.1:9"}, {"url": "localhost:8321"}, {"url": NOWHERE, "queue_size": 0}],
)
def test_a_contradictory_client_is_refused_when_it_is_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Client("shop", **arguments)


def test_publishing_returns_the_id_and_a_full_queue_drops_and_counts(adrift: Client) -> None:
    ids = [adrift.publish("q", "a") for _ in range(15)]
    assert len({one for one in ids[:10] if one}) == 10
    assert ids[10:] == [None] * 5
    assert adrift.stats.queued == 10
    assert adrift.stats.dropped == 5


class Vexatious(dict[str, str]):
    def keys(self) -> Any:
        raise RuntimeError("secret")

    def __iter__(self) -> Any:
        raise RuntimeError("secret")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": "q"},
        {"prompt": 7, "response": "secret"},
        {"prompt": "q", "response": "secret", "misspelt": 1},
        {"prompt": "secret \ud800", "response": "a"},
        {"prompt": [{"role": "user"}], "response": "secret"},
        {"prompt": "q", "response": "a", "latency_ms": float("nan")},
        {"prompt": "q", "response": "a", "interaction_id": 12},
        {"prompt": "q", "response": "a", "attributes": object()},
        {"prompt": "q", "response": "a", "attributes": {"share": float("nan")}},
        {"prompt": "q", "response": "secret" * 300_000},
    ],
)
def test_invalid_input_is_counted_and_logged_once_without_content(
    adrift: Client, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tocsin")
    adrift.publish(**fields)
    adrift.publish(**fields)
    assert adrift.flush(10)
    assert adrift.stats.invalid == 2
    assert adrift.stats.queued == 0
    assert sum("invalid" in record.message for record in caplog.records) == 1
    assert "secret" not in caplog.text


def test_numbers_and_truth_values_are_attributes_as_text() -> None:
    given = {"tenant": "acme", "level": 5, "share": 0.5, "paying": True}
    made = Interaction.model_validate({"application": "shop", "prompt": "q", "response": "a", "attributes": given})
    assert made.attributes == {"tenant": "acme", "level": "5", "share": "0.5", "paying": "true"}
    assert Interaction.model_validate_json(made.model_dump_json()) == made


def test_each_kind_of_mistake_is_logged_once(adrift: Client, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        adrift.publish("q", "a", latency_ms=-1.0)
        adrift.publish("q", "a", occurred_at=datetime(2026, 1, 1))  # without a zone
    assert adrift.flush(10)
    assert [record.message.split("invalid ")[1].split(")")[0] for record in caplog.records] == [
        "(latency_ms",
        "(occurred_at",
    ]


def test_objects_that_raise_when_they_are_read_do_not_stop_the_courier(adrift: Client) -> None:
    adrift.publish([Vexatious(role="user")], "a", attributes=Vexatious(tenant="acme"))
    assert adrift.flush(10)
    adrift.publish_interaction("no interaction")  # type: ignore[arg-type]
    adrift.feedback(None, rating=1.0)
    adrift.feedback("i-1")
    assert adrift.flush(10)
    assert adrift.stats.invalid == 4


def test_publishing_never_waits_while_nothing_answers(adrift: Client) -> None:
    adrift.publish("q", "a")
    started = time.perf_counter()
    for _ in range(10_000):
        adrift.publish("q", "a")
    assert time.perf_counter() - started < 10  # 1 ms a call; a call that waits for a connection takes more


def test_a_closed_client_drops_and_its_counts_add_up() -> None:
    client = Client("shop", url=NOWHERE)
    for _ in range(5):
        client.publish("q", "a")
    client.publish("q")
    assert not client.close(timeout=0.5)
    assert client.publish("q", "a") is None
    client.feedback("i-1", rating=0.0)
    stats = client.stats
    assert (stats.queued, stats.invalid, stats.dropped) == (0, 1, 7)


def test_many_threads_publish_at_once_and_every_call_is_accounted_for() -> None:
    client = Client("shop", url=NOWHERE, queue_size=500)
    threads = [Thread(target=lambda: [client.publish("q", "a") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.stats.queued == 500
    assert client.stats.dropped == 1_100
    client.close(timeout=0)


def test_an_exit_without_a_gateway_is_quick_and_quiet() -> None:
    program = (
        "import tocsin\n"
        f"for where in ({{'url': '{NOWHERE}'}}, {{'bootstrap': '127.0.0.1:9'}}):\n"
        "    tocsin.Client('shop', exit_timeout_seconds=0.5, **where).publish('q', 'a')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr


def test_a_chat_may_be_given_as_turns_or_as_mappings(adrift: Client) -> None:
    adrift.publish([Turn(role="user", content="q"), {"role": "assistant", "content": "a"}], "r")
    assert not adrift.flush(0.2)
    assert adrift.stats.invalid == 0
