"""Commands that look at what is stored and at what is needed."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.application import (
    AsJson,
    ConfigFile,
    DataDirectory,
    app,
    failing_in_one_line,
    print_json,
    print_table,
    screen,
    settings_from,
)
from streams.settings import ConfigurationError


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
        print_table([*used, {"topic": "total", "partition": "", **found["total"]}])
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
        print_table(rows)


@app.command()
def doctor(config: ConfigFile = None, data: DataDirectory = None, as_json: AsJson = False) -> None:
    """Check what tocsin needs: packages, weights, directories, disk, ports, engines; exit 1 if something is missing."""
    with failing_in_one_line():
        from streams.doctor import examine

        findings = examine(settings_from(config, data))
    if as_json:
        print_json([{"check": each.check, "ok": each.ok, "detail": each.detail} for each in findings])
    else:
        print_table(
            [{"": "ok" if each.ok else "FAIL", "check": each.check, "detail": each.detail} for each in findings]
        )
    raise typer.Exit(0 if all(each.ok for each in findings) else 1)
