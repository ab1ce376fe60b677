"""Commands about dead letters: look at them, mend them, publish them again."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.application import (
    AsJson,
    ConfigFile,
    DataDirectory,
    app,
    failing_in_one_line,
    notes,
    print_json,
    print_table,
    screen,
    settings_from,
)
from streams.cli.importing import (
    AnyAge,
    Application,
    Columns,
    Fresh,
    KnownOnly,
    ShiftToNow,
    Url,
    reading_of,
    run_plan,
)
from streams.settings import ConfigurationError

if TYPE_CHECKING:
    from streams.deadletters import Order, Replayed, Selection
    from streams.reach import DeadLetters

Reason = Annotated[str, typer.Option("--reason", help="Only those with this reason, such as schema or not_json.")]
Topic = Annotated[str, typer.Option("--topic", help="Only those of this topic, such as tocsin.interactions.")]
Since = Annotated[
    datetime | None,
    typer.Option("--since", help="Only those that came at this time (UTC) or later.", show_default=False),
]

letters_app = typer.Typer(help="Messages that could not be read: list, show, export.", no_args_is_help=True)
app.add_typer(letters_app, name="dead-letters")


@letters_app.command("list")
def list_letters(
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many, the latest.")] = 50,
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """The latest dead letters: id, reason, what is wrong, size, and whether they were replayed; never their content."""
    with failing_in_one_line():
        from streams.reach import dead_letters

        with dead_letters(settings_from(config, data)) as letters:
            rows = letters.latest(replace(_selection(topic, reason, since), limit=limit))
    shown = [row | {"received_at": _time(row["received_at"]), "replayed_at": _replayed_at(row)} for row in rows]
    for row in shown:
        del row["replays"]
    if as_json:
        print_json(shown)
    else:
        print_table(shown)


@letters_app.command("show")
def show_letter(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it: TOPIC/PARTITION/OFFSET.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the original bytes, and nothing else.")] = False,
    config: ConfigFile = None,
    data: DataDirectory = None,
) -> None:
    """One dead letter: what is wrong with it, or with --raw its bytes as they came. Those need a key with scope raw."""
    with failing_in_one_line():
        from streams.deadletters import Selection
        from streams.reach import dead_letters

        with dead_letters(settings_from(config, data)) as letters:
            found = letters.page(Selection(ids=[letter_id]))
        if not found:
            raise ConfigurationError(f"there is no dead letter {letter_id}")
    if raw:
        sys.stdout.buffer.write(found[0]["raw"])
        return
    row = found[0]
    print_json(
        {
            "letter_id": row["letter_id"],
            "received_at": _time(row["received_at"]),
            "reason": row["reason"],
            "detail": row["detail"],
            "bytes": len(row["raw"]),
            "replays": row["replays"],
        }
    )


@letters_app.command("export")
def export_letters(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to; readable by you alone.")],
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    config: ConfigFile = None,
    data: DataDirectory = None,
) -> None:
    """Write dead letters with their content, a JSON object a line, to be edited and given to replay --fixed."""
    with failing_in_one_line():
        from streams.reach import dead_letters

        with dead_letters(settings_from(config, data)) as letters, _new_private(out) as file:
            count = 0
            for row in _every(letters, _selection(topic, reason, since)):
                line = {"letter_id": row["letter_id"], "reason": row["reason"], "detail": row["detail"]}
                file.write(json.dumps(line | _content(row["raw"]), ensure_ascii=False) + "\n")
                count += 1
    notes.print(f"{count} dead letters in {out}", markup=False)


def replay_dead_letters(order: Order, config: Path | None, data: Path | None, *, as_json: bool) -> None:
    """Replay page by page and say what became of each; exit 1 if some are still unreadable."""
    from streams.reach import dead_letters

    counts: Counter[str] = Counter()
    with failing_in_one_line(), dead_letters(settings_from(config, data)) as letters:
        for page in _pages(letters, order):
            for letter_id, outcome, detail in page.outcomes:
                counts[outcome] += 1
                if as_json:
                    print_json({"letter_id": letter_id, "outcome": outcome, "detail": detail})
                elif outcome in ("unreadable", "unknown"):
                    screen.print(f"{letter_id}  {outcome}  {detail}", markup=False, soft_wrap=True)
    if not as_json:
        screen.print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no dead letters")
    raise typer.Exit(1 if counts["unreadable"] or counts["unknown"] else 0)


@app.command()
def replay(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Interactions in the order of time, as `import` reads them.", show_default=False
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="Seconds of the file in a second; 0: as fast as it is taken.")
    ] = 1.0,
    application: Application = "",
    columns: Columns = None,
    ignore_unknown: KnownOnly = False,
    any_age: AnyAge = False,
    shift_to_now: ShiftToNow = False,
    fresh: Fresh = False,
    url: Url = "",
    dead_letters: Annotated[bool, typer.Option("--dead-letters", help="Publish dead letters again.")] = False,
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    fixed: Annotated[
        Path | None,
        typer.Option(
            "--fixed", metavar="FILE", help="Those in this file, as `dead-letters export` wrote and you edited it."
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of them.")] = False,
    config: ConfigFile = None,
    data: DataDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Publish a file at the pace of its own times, or dead letters that can be read now; each once.

    Killed in the middle, the same command goes on.
    """
    with failing_in_one_line():
        if (file is None) == (not dead_letters):
            raise ConfigurationError("replay: say what: a file, or --dead-letters")
        if file is not None:
            from streams.offline.importing import Plan

            reading = reading_of(
                application, columns, ignore_unknown=ignore_unknown, any_age=any_age, anew=shift_to_now
            )
            settings = settings_from(config, data)
            run_plan(Plan(file, reading, speed, fresh), settings, url, dry_run=dry_run, as_json=as_json)
        from streams.deadletters import Order

        order = Order(_selection(topic, reason, since), _fixes(fixed) if fixed else {}, again, dry_run)
        if fixed and not order.fixes:
            raise ConfigurationError(f"{fixed}: there is nothing in it")
    replay_dead_letters(order, config, data, as_json=as_json)


def _selection(topic: str, reason: str, since: datetime | None) -> Selection:
    from streams.deadletters import EVER, Selection

    return Selection(topic, reason, since.replace(tzinfo=since.tzinfo or UTC) if since else EVER)


def _every(letters: DeadLetters, selection: Selection) -> Iterator[dict[str, Any]]:
    while rows := letters.page(selection):
        yield from rows
        selection = replace(selection, after=rows[-1]["letter_id"])


def _pages(letters: DeadLetters, order: Order) -> Iterator[Replayed]:
    """Page after page; of fixes, as many at a time."""
    if order.fixes:
        fixes, size = list(order.fixes.items()), order.selection.limit
        for start in range(0, len(fixes), size):
            yield letters.replay(replace(order, fixes=dict(fixes[start : start + size])))
        return
    after = order.selection.after
    while after:
        page = letters.replay(replace(order, selection=replace(order.selection, after=after)))
        yield page
        after = page.after


def _content(raw: bytes) -> dict[str, Any]:
    """Bytes as a person can edit them: the JSON document that they are, else a text, else base64."""
    with suppress(ValueError, RecursionError):
        return {"message": json.loads(raw)}
    with suppress(UnicodeDecodeError):
        return {"text": raw.decode()}
    return {"base64": base64.b64encode(raw).decode()}


def _fixes(file: Path) -> dict[str, bytes]:
    """The bytes of each letter in a file that was edited."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # nothing else ends a line of JSON
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from None
    fixes = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            fixes[str(said["letter_id"])] = _bytes(said)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"{file}: line {number} cannot be read ({type(error).__name__})") from None
    return fixes


def _bytes(said: dict[str, Any]) -> bytes:
    if "message" in said:
        return json.dumps(said["message"], ensure_ascii=False).encode()
    return said["text"].encode() if "text" in said else base64.b64decode(said["base64"], validate=True)


def _new_private(path: Path) -> Any:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _replayed_at(row: dict[str, Any]) -> str:
    return _time(row["replayed_at"]) if row["replays"] else ""
