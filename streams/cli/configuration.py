"""Commands about the configuration and its keys."""

from __future__ import annotations

import json
import sys
from typing import Annotated, get_args

import typer

from streams.cli.application import (
    AsJson,
    ConfigFile,
    app,
    failing_in_one_line,
    print_json,
    print_table,
    screen,
    settings_from,
)
from streams.settings import ConfigurationError, effective, load

config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
keys_app = typer.Typer(help="Make API keys.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")


@config_app.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Read the configuration; exit 2 and one line that names the field if it is wrong."""
    with failing_in_one_line():
        from sinks.notification import Notifier
        from streams.pipeline import rules_of

        settings = settings_from(config)
        rules_of(settings)
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
        print_table(rows)


@keys_app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in logs.")],
    scope: Annotated[list[str], typer.Option("--scope", help="publish, read, operate or raw; may be repeated.")],
    as_json: AsJson = False,
) -> None:
    """Make an API key: the key for the service, shown once, and the lines for `tocsin.toml`."""
    with failing_in_one_line():
        from streams.access import new_key
        from streams.settings import Key, Scope

        unknown = set(scope) - set(get_args(Scope))
        if unknown:
            raise ConfigurationError(f"--scope: {', '.join(sorted(unknown))} is none of {', '.join(get_args(Scope))}")
        secret, sha256 = new_key()
        key = Key.model_validate({"name": name, "sha256": sha256, "scopes": scope})
    if as_json:
        print_json({"key": secret, "setting": key.model_dump()})
    else:
        sys.stdout.write(f"key (shown once): {secret}\n\n[[gateway.keys]]\nname = {json.dumps(name)}\n")
        sys.stdout.write(f'sha256 = "{sha256}"\nscopes = {json.dumps(scope)}\n')
