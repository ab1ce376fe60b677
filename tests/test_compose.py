"""The production shape, checked without Docker: against the settings, the command line and a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer.core
import typer.main
import yaml

from streams.cli import app
from streams.engines.broker import free_port
from streams.front import Front
from streams.health import create_health
from streams.listening import listen
from streams.pipeline import ROLES
from streams.settings import Settings, load

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "tocsin"}
EXAMPLE = (ROOT / ".env.example").read_text()
KEYS = [{"name": "bot", "sha256": "0" * 64, "scopes": ["publish"]}]
FILLED_IN = {"TOCSIN_GATEWAY__KEYS": json.dumps(KEYS), "TOCSIN_GATEWAY__LOGIN_SHA256": "0" * 64}
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def filled_in(value: str) -> str:
    """A value as compose would fill it in, from an .env that has everything required and nothing else."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == "-" else FILLED_IN.get(found[1], "a-secret"), value)


def test_the_whole_system_is_there() -> None:
    assert set(SERVICES) == {"kafka", "clickhouse", "grafana", "gateway", *ROLES}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_published_on_loopback_only(name: str) -> None:
    assert "network_mode" not in SERVICES[name]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_the_environment_and_have_no_default(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        if re.search(r"PASSWORD|SECRET|KEYS|LOGIN", variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), variable


def test_the_example_names_every_variable_and_fills_in_no_secret() -> None:
    used = {found[1]: found[2] for found in VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())}
    for variable, kind in used.items():
        wanted = rf"^{variable}=$" if kind == "?" else rf"^# {variable}="
        assert re.search(wanted, EXAMPLE, re.MULTILINE), variable
    named = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))
    assert named == set(used)


@pytest.mark.parametrize("name", OURS)
def test_our_settings_exist_and_are_accepted_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("TOCSIN_")]:
        monkeypatch.delenv(variable)
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, filled_in(value))
    settings, origin = load()
    assert settings.broker.bootstrap == "kafka:9092"
    assert settings.clickhouse.host == "clickhouse"
    for variable in OURS[name]["environment"]:
        path = variable.removeprefix("TOCSIN_").lower().replace("__", ".")
        assert any(key.startswith(path) for key in origin), f"{variable} sets nothing"


def test_the_image_sets_only_real_settings() -> None:
    for variable in re.findall(r"TOCSIN_(\w+)=", (ROOT / "Dockerfile").read_text()):
        assert variable.lower() in Settings.model_fields


@pytest.mark.parametrize("name", OURS)
def test_a_command_exists(name: str) -> None:
    program, command, *arguments = OURS[name]["command"]
    assert program == "tocsin"
    commands = typer.main.get_command(app)
    assert isinstance(commands, typer.core.TyperGroup) and command in commands.commands
    assert arguments == ([name] if name in ROLES else [])


def test_every_volume_is_named_and_every_file_is_there() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert {mount[0] for mount in mounts if not mount[0].startswith(".")} == set(COMPOSE["volumes"])
    assert all((ROOT / mount[0]).exists() for mount in mounts if mount[0].startswith("."))


def test_reports_are_written_by_one_service_and_read_by_the_other() -> None:
    reports = {name: mount for name in OURS for mount in OURS[name]["volumes"] if mount.startswith("reports:")}
    assert reports == {"respond": "reports:/var/lib/tocsin/reports", "gateway": "reports:/var/lib/tocsin/reports:ro"}


def test_grafana_sees_no_texts() -> None:
    users = ElementTree.parse(ROOT / "deploy/clickhouse/users.xml")
    grants = [grant.text or "" for grant in users.iter("query")]
    assert grants and all(re.match(r"GRANT SELECT(\([\w, ]+\))? ON tocsin\.\w+$", grant) for grant in grants)
    whole = {grant.rpartition(".")[2] for grant in grants if "(" not in grant}
    assert not whole & {"interactions", "feedback", "dead_letters", "references", "notifications", "detector_states"}
    columns = {column for grant in grants for column in re.findall(r"\w+", grant.partition("(")[2].partition(")")[0])}
    assert not columns & {"prompt", "response", "context", "reference", "text", "raw", "detail", "subject_id"}
    assert users.findtext("profiles/grafana/readonly") == "1"


def test_the_servers_own_logs_end_by_themselves() -> None:
    logs = ElementTree.parse(ROOT / "deploy/clickhouse/config.xml").getroot()
    assert len(logs) and all(log.get("remove") == "1" or log.findtext("ttl") for log in logs)


@pytest.mark.parametrize("name", ROLES)
def test_the_health_of_a_worker_is_what_it_says_of_its_stage(name: str) -> None:
    port = OURS[name]["environment"]["TOCSIN_WORKER__PORT"]
    _, *command = OURS[name]["healthcheck"]["test"]
    assert f"http://127.0.0.1:{port}/readyz" in command[-1]
    free = free_port()
    question = command[-1].replace(port, str(free))

    async def health(stages: list[asyncio.Task[None]]) -> int:
        with listen("127.0.0.1", free, "worker") as listening:
            async with Front(create_health(Settings(), stages), listening):
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", question, stderr=DEVNULL)
                return await process.wait()

    async def while_it_runs_and_after() -> tuple[int, int]:
        stage = asyncio.create_task(asyncio.sleep(60), name=name)
        runs = await health([stage])
        stage.cancel()
        await asyncio.wait([stage])
        return runs, await health([stage])

    assert asyncio.run(while_it_runs_and_after()) == (0, 1)
