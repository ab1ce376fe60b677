"""What a worker process says of itself over HTTP, and in its log."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from starlette.testclient import TestClient

from streams.access import new_key
from streams.health import create_health
from streams.logs import log_to_stderr
from streams.settings import ConfigurationError, Settings, load


async def stage_that_fails() -> None:
    raise LookupError


def test_a_worker_is_ready_until_a_stage_has_ended() -> None:
    async def answers() -> list[int]:
        task = asyncio.create_task(stage_that_fails(), name="tocsin-score")
        client = TestClient(create_health(Settings(), [task]))
        before = client.get("/readyz").status_code
        await asyncio.wait([task])
        task.exception()
        after = client.get("/readyz")
        assert after.json() == {"status": "ended", "stages": ["tocsin-score"]}
        return [before, after.status_code, client.get("/healthz").status_code]

    assert asyncio.run(answers()) == [200, 503, 200]


def test_metrics_ask_for_the_key_where_there_is_one() -> None:
    key, hashed = new_key()
    keys = [{"name": "prometheus", "sha256": hashed, "scopes": ["read"]}]
    client = TestClient(create_health(Settings.model_validate({"gateway": {"keys": keys}}), []))
    assert client.get("/metrics").status_code == 401
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200 and "# HELP" in answer.text
    assert "# HELP" in TestClient(create_health(Settings(), [])).get("/metrics").text


def test_beyond_loopback_a_worker_needs_keys_too() -> None:
    with pytest.raises(ConfigurationError, match=r"worker\.host"):
        load(None, {"worker": {"host": "0.0.0.0"}})


def test_a_log_line_is_one_object_where_programs_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        log_to_stderr("info", "json")
        logging.getLogger("streams.test").info("%d stored", 3)
        try:
            raise LookupError("a defect")
        except LookupError:
            logging.getLogger("streams.test").exception("ended")
    finally:
        logging.basicConfig(force=True)
    stored, ended = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert stored.pop("at")
    assert stored == {"level": "info", "logger": "streams.test", "message": "3 stored"}
    assert "LookupError: a defect" in ended["error"]


def test_a_library_says_the_same_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        log_to_stderr("info")
        for node in range(5):
            logging.getLogger("aiokafka").error("Unable to connect to node %d", node)
            logging.getLogger("streams.test").warning("try %d", node)
    finally:
        logging.basicConfig(force=True)
    lines = capsys.readouterr().err.splitlines()
    assert [("aiokafka" in line, "try" in line) for line in lines].count((True, False)) == 1
    assert len(lines) == 6
