"""The command line. Every command that machines may read takes `--json`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from streams.listening import require_port
from streams.settings import ConfigurationError, Settings, effective, load

app = typer.Typer(
    name="tocsin",
    help="Watches LLM applications in production and pages people within a false-alarm budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
keys_app = typer.Typer(help="Make API keys.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file; by default ./tocsin.toml if it is there.")
]
DataDirectory = Annotated[Path | None, typer.Option("--data", help="Data directory; overrides data_directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of gateway and pages; overrides gateway.port.")]

WIDEST_CELL = 120

screen = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
notes = Console(stderr=True, highlight=False)


def settings_from(config: Path | None, data: Path | None = None, port: int | None = None) -> Settings:
    """The settings, with the flags that many commands share."""
    flags: dict[str, Any] = {}
    if data is not None:
        flags["data_directory"] = data
    if port is not None:
        flags["gateway"] = {"port": port}
    return load(config, flags)[0]


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What a person can mend ends the command with one line: exit 2 for the configuration, 1 for the rest."""
    from detectors.encoder import EncoderError
    from sinks.clickhouse import StoreError
    from sinks.notification import NotificationConfigurationError
    from sinks.retraining import RetrainingConfigurationError
    from streams.engines.ownership import EngineError
    from streams.topics import TopicError

    try:
        yield
    except (ConfigurationError, NotificationConfigurationError, RetrainingConfigurationError) as error:
        notes.print(f"tocsin: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except (EncoderError, StoreError, EngineError, TopicError) as error:
        notes.print(f"tocsin: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


@app.command()
def up(config: ConfigFile = None, data: DataDirectory = None, port: Port = None) -> None:
    """Run everything in this process: gateway, pages, broker, store and all workers. Ctrl-C ends it."""
    with failing_in_one_line():
        from streams.engines.ownership import require_free

        settings = settings_from(config, data, port)
        require_free(settings.data_directory)  # said at once, before anything heavy is loaded
        require_port(settings.gateway.host, settings.gateway.port)
        notes.print("tocsin starts: broker, store, encoder, workers…", soft_wrap=True)
        from streams.engines import open_engines
        from streams.pipeline import ROLES
        from streams.service import log_to_stderr, serve

        log_to_stderr(settings.log_level)

        def announce(url: str) -> None:
            screen.print(f"tocsin is up: pages and gateway at {url}")
            screen.print(f"data in {settings.data_directory}; Ctrl-C ends it")

        with open_engines(settings) as engines:
            asyncio.run(serve(settings, engines, ROLES, gateway=True, announce=announce))
        notes.print("tocsin has stopped; what was not dealt with waits in the broker", soft_wrap=True)


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
    from streams.service import log_to_stderr, serve

    if not settings.broker.bootstrap or not settings.clickhouse.host:
        raise ConfigurationError(
            "broker.bootstrap and clickhouse.host must be set for a process of its own; or use `tocsin up`"
        )
    log_to_stderr(settings.log_level)
    what = " and ".join([*roles, *(["gateway"] if gateway else [])])
    with open_engines(settings) as engines:
        asyncio.run(
            serve(
                settings, engines, roles, gateway=gateway, announce=lambda url: notes.print(f"tocsin {what} runs {url}")
            )
        )


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


@app.command()
def score(
    file: Annotated[
        Path,
        typer.Argument(help='Interactions or {"text": …}: JSON lines (or .gz), or Parquet; - reads standard input.'),
    ],
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Write what backtest reads without encoding: vectors, and no texts.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Score a file: one JSON object a line with every signal, in the order of the input."""
    with failing_in_one_line():
        from streams.offline.records import open_records
        from streams.offline.scoring import score_records

        settings = settings_from(config)
        with open_records(file) as records:
            for scored in score_records(records, settings, vectors=vectors):
                print_json(scored)


@app.command()
def backtest(
    file: Annotated[
        Path,
        typer.Argument(
            help="Interactions in the order of time: JSON lines (or .gz), or Parquet; - reads standard input."
        ),
    ],
    reference_first: Annotated[
        int | None,
        typer.Option(
            "--reference-first", metavar="N", help="The first N interactions make the reference; 2000 at least."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="FILE", help="Another file of interactions makes the reference."),
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out and count what cannot be read, instead of stopping.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, also where an interrupted run could go on.")
    ] = False,
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Replay a file through the detectors: the pages that it would have sent, then a summary.

    Lines are interactions as services publish them, or carry what tocsin stores (prompt_vector, response_vector,
    signals, encoder), as `tocsin sql "SELECT * FROM interactions FINAL" --json` prints them: those need no encoding.
    The same command goes on where a killed one stood. Try another budget with --config. More: docs/backtest.md.
    """
    with failing_in_one_line():
        if (reference_first is None) == (reference is None):
            raise ConfigurationError(
                "backtest: say what is ordinary: --reference-first N (the first N interactions) or --reference FILE"
            )
        from streams.offline.backtest import Plan, backtest
        from streams.offline.report import Bar, print_report

        plan = Plan(file, reference, reference_first or 0, fresh, skip_unreadable)
        found: list[dict[str, Any]] = []
        with Bar(notes) as bar:
            for each in backtest(plan, settings_from(config, data), bar):
                if as_json:
                    print_json(each)
                    sys.stdout.flush()  # pages are read as they are found
                else:
                    found.append(each)
        if found:
            print_report(screen, found[:-1], found[-1])


@app.command()
def audit(config: ConfigFile = None, data: DataDirectory = None, as_json: AsJson = False) -> None:
    """Prove that nothing was lost: produced, stored, dead-lettered, duplicate and lost; exit 1 if anything is lost."""
    with failing_in_one_line():
        from streams.reach import audit_now

        found = audit_now(settings_from(config, data))
    if as_json:
        print_json(found)
    else:
        used = [each for each in found["partitions"] if each["produced"]]
        _print_table([*used, {"topic": "total", "partition": "", **found["total"]}])
        waiting = found["total"]["waiting"]
        rest = f"; {waiting} are waiting in the broker" if waiting else ""
        screen.print(f"exact: nothing is lost{rest}" if found["exact"] else "NOT exact: messages are lost")
    raise typer.Exit(0 if found["exact"] else 1)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the tables of docs/tables.md.")],
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Run one SELECT over our tables, on the running system or on its data."""
    with failing_in_one_line():
        from streams.reach import run_sql
        from streams.sql import SqlRefused

        try:
            rows = run_sql(settings_from(config, data), query)
        except SqlRefused as error:
            raise ConfigurationError(f"sql: {error}") from None
    if as_json:
        for row in rows:
            print_json(row)
    else:
        _print_table(rows)


@app.command()
def doctor(config: ConfigFile = None, data: DataDirectory = None, as_json: AsJson = False) -> None:
    """Check what tocsin needs: packages, weights, directories, disk, ports, engines; exit 1 if something is missing."""
    with failing_in_one_line():
        from streams.doctor import examine

        findings = examine(settings_from(config, data))
    if as_json:
        print_json([{"check": each.check, "ok": each.ok, "detail": each.detail} for each in findings])
    else:
        _print_table(
            [{"": "ok" if each.ok else "FAIL", "check": each.check, "detail": each.detail} for each in findings]
        )
    raise typer.Exit(0 if all(each.ok for each in findings) else 1)


@config_app.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Read the configuration; exit 2 and one line that names the field if it is wrong."""
    with failing_in_one_line():
        from sinks.notification import Notifier

        settings = settings_from(config)
        Notifier([url.get_secret_value() for url in settings.notification.urls])
    screen.print("the configuration is valid")


@config_app.command("show")
def config_show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every effective setting and where it came from; secrets are hidden."""
    with failing_in_one_line():
        settings, origin = load(config)
        rows = [
            {"setting": name, "value": value, "source": origin.get(name, "default")}
            for name, value in effective(settings).items()
        ]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


@keys_app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in logs.")],
    scope: Annotated[list[str], typer.Option("--scope", help="publish, read or operate; may be repeated.")],
    as_json: AsJson = False,
) -> None:
    """Make an API key: the key for the service, shown once, and the lines for `tocsin.toml`."""
    with failing_in_one_line():
        from streams.access import new_key
        from streams.settings import Key

        unknown = set(scope) - {"publish", "read", "operate"}
        if unknown:
            raise ConfigurationError(f"--scope: {', '.join(sorted(unknown))} is none of publish, read, operate")
        secret, sha256 = new_key()
        key = Key.model_validate({"name": name, "sha256": sha256, "scopes": scope})
    if as_json:
        print_json({"key": secret, "setting": key.model_dump()})
    else:
        sys.stdout.write(f"key (shown once): {secret}\n\n[[gateway.keys]]\nname = {json.dumps(name)}\n")
        sys.stdout.write(f'sha256 = "{sha256}"\nscopes = {json.dumps(scope)}\n')


def _print_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        screen.print("no rows")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    screen.print(table)


def _cell(value: object) -> str:
    from rich.markup import escape

    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…")


def main() -> None:
    """The entry point of `tocsin`."""
    app()
