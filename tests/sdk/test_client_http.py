"""The way through a gateway: over real HTTP, with a server that answers as each test needs."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from tocsin import Client, Interaction


@pytest.fixture
def client(server: Any) -> Any:
    with Client("shop", url=server.url, api_key="tocsin_k") as client:
        yield client


def test_what_is_published_arrives_whole_and_with_the_key(client: Client, server: Any) -> None:
    interaction_id = client.publish("how?", "so", session_id="s-1", attributes={"tenant": "acme"})
    client.feedback(interaction_id, rating=0, comment="useless")
    assert client.flush(10)
    interaction, rating, comment = server.received
    assert Interaction.model_validate(interaction).interaction_id == interaction_id
    assert interaction["attributes"] == {"tenant": "acme"}
    assert (rating["kind"], rating["value"]) == ("rating", 0)
    assert (comment["kind"], comment["value"]) == ("comment", "useless")
    assert [path for path, _, _ in server.posts] == ["/v1/interactions", "/v1/feedback"]
    assert server.posts[0][1]["Authorization"] == "Bearer tocsin_k"
    assert client.stats.acknowledged == 3


def test_a_prompt_that_the_service_goes_on_changing_is_published_as_it_was(client: Client, server: Any) -> None:
    chat = [{"role": "user", "content": "first"}]
    tags = {"turn": "1"}
    client.publish(chat, "a", attributes=tags)
    chat[0]["content"] = "changed"
    chat.append({"role": "user", "content": "second"})
    tags["turn"] = "2"
    assert client.flush(10)
    assert server.received[0]["prompt"] == [{"role": "user", "content": "first"}]
    assert server.received[0]["attributes"] == {"turn": "1"}


def test_lists_are_bounded_compressed_and_in_order(client: Client, server: Any) -> None:
    ids = [client.publish(f"question {i}", "answer " * 50) for i in range(450)]
    assert client.flush(20)
    assert [one["interaction_id"] for one in server.received] == ids
    assert max(len(body) for _, _, body in server.posts) == 200
    assert all(headers.get("Content-Encoding") == "gzip" for _, headers, body in server.posts if len(body) > 10)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_an_answer_that_asks_for_patience_is_tried_again(client: Client, server: Any, status: int) -> None:
    server.answers.append((status, {}))
    interaction_id = client.publish("q", "a")
    assert client.flush(20)
    assert [one["interaction_id"] for one in server.received] == [interaction_id]
    assert client.stats.sent == 2


def test_retry_after_is_respected(client: Client, server: Any) -> None:
    server.answers.append((503, {"Retry-After": "2"}))
    started = time.monotonic()
    client.publish("q", "a")
    assert client.flush(20)
    assert time.monotonic() - started >= 2


@pytest.mark.parametrize("status", [301, 401, 403, 404, 415])
def test_an_answer_that_refuses_is_counted_and_not_tried_again(client: Client, server: Any, status: int) -> None:
    server.answers.append((status, {}))
    client.publish("q", "a")
    assert client.flush(20)
    client.publish("q", "a")
    assert client.flush(20)
    assert (client.stats.refused, client.stats.acknowledged, client.stats.sent) == (1, 1, 2)


def test_one_bad_member_of_a_list_takes_no_other_with_it(client: Client, server: Any) -> None:
    server.refuse = "bad"
    for i in range(100):
        client.publish(f"q{i}", "bad" if i == 42 else "good")
    assert client.flush(20)
    assert (client.stats.refused, client.stats.acknowledged) == (1, 99)
    assert [one["prompt"] for one in server.received] == [f"q{i}" for i in range(100) if i != 42]


def test_what_is_queued_at_exit_is_delivered(server: Any) -> None:
    program = f"import tocsin; c = tocsin.Client('shop', url={server.url!r}); [c.publish('q', 'a') for _ in range(777)]"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert len(server.received) == 777


def test_a_forked_child_publishes_by_itself_and_repeats_nothing(server: Any) -> None:
    program = f"""
import os, sys, tocsin
client = tocsin.Client('shop', url={server.url!r})
client.publish('parent before', 'a')
child = os.fork()
client.publish('child' if child == 0 else 'parent after', 'a')
assert client.flush(20)
if child == 0:
    assert client.stats.acknowledged == 1
else:
    assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert sorted(one["prompt"] for one in server.received) == ["child", "parent after", "parent before"]
