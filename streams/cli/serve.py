"""Commands that run until they are ended: all of tocsin, one stage of it, the gateway, the demo."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.application import (
    AsJson,
    ConfigFile,
    DataDirectory,
    Port,
    app,
    failing_in_one_line,
    notes,
    print_json,
    screen,
    settings_from,
)
from streams.listening import require_port
from streams.settings import ConfigurationError, Settings


@app.command()
def up(config: ConfigFile = None, data: DataDirectory = None, port: Port = None) -> None:
    """Run everything in this process: gateway, pages, broker, store and all workers. Ctrl-C ends it."""
    with failing_in_one_line():
        from streams.ownership import require_free

        settings = settings_from(config, data, port)
        require_free(settings.data_directory)  # said at once, before anything heavy is loaded
        require_port(settings.gateway.host, settings.gateway.port)
        notes.print("tocsin starts: broker, store, encoder, workers…", soft_wrap=True)
        from streams.engines import open_engines
        from streams.logs import log_to_stderr
        from streams.pipeline import ROLES
        from streams.service import leave, serve

        log_to_stderr(settings.log_level, settings.log_format)

        def announce(url: str) -> None:
            screen.print(f"tocsin is up: pages and gateway at {url}")
            screen.print(f"data in {settings.data_directory}, Kafka at {engines.bootstrap}; Ctrl-C ends it")

        with open_engines(settings) as engines:
            asyncio.run(serve(settings, engines, ROLES, gateway=True, announce=announce))
        notes.print("tocsin has stopped; what was not dealt with waits in the broker", soft_wrap=True)
        leave()


@app.command()
def worker(
    role: Annotated[str, typer.Argument(help="score, watch or respond.")],
    config: ConfigFile = None,
    data: DataDirectory = None,
) -> None:
    """Run one stage, against a Kafka and a ClickHouse that are set in the configuration."""
    with failing_in_one_line():
        from streams.pipeline import ROLES

        known = {name: name for name in ROLES}
        if role not in known:
            raise ConfigurationError(f"worker: {role} is none of {', '.join(ROLES)}")
        _serve_outside(settings_from(config, data), [known[role]], gateway=False)


@app.command()
def gateway(config: ConfigFile = None, data: DataDirectory = None, port: Port = None) -> None:
    """Run the HTTP gateway and the web pages, against a Kafka and a ClickHouse that are set in the configuration."""
    with failing_in_one_line():
        _serve_outside(settings_from(config, data, port), [], gateway=True)


def _serve_outside(settings: Settings, roles: list[Any], *, gateway: bool) -> None:
    from streams.engines import open_engines
    from streams.logs import log_to_stderr
    from streams.service import leave, serve

    if not settings.broker.bootstrap or not settings.clickhouse.host:
        raise ConfigurationError(
            "broker.bootstrap and clickhouse.host must be set for a process of its own; or use `tocsin up`"
        )
    log_to_stderr(settings.log_level, settings.log_format)
    what = " and ".join([*roles, *(["gateway"] if gateway else [])])
    with open_engines(settings, patient=not roles) as engines:
        asyncio.run(
            serve(
                settings, engines, roles, gateway=gateway, announce=lambda url: notes.print(f"tocsin {what} runs {url}")
            )
        )
    leave()


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="Where it keeps what it makes; emptied first.")] = Path(
        "data/demo"
    ),
    port: Annotated[int, typer.Option("--port", help="Port of the pages; 0 finds a free one.")] = 8321,
    as_json: AsJson = False,
) -> None:
    """Replay real conversations with four changes in them, and watch what is paged, told and retrained."""
    with failing_in_one_line():
        from streams.demo.run import run_demo

        summary = run_demo(data, port, quiet=as_json)
    print_json(summary)
