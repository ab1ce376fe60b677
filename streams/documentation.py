"""Writes the reference pages of `docs/` from the code: settings, signals, metrics.

`python -m streams.documentation docs` writes them, `--check` only compares and exits with 1 if one is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from detectors.heads.page import heads_page
from detectors.signals import signal_labels, signal_outputs
from streams import metrics
from streams.core.units import REPEAT_SIGNALS
from streams.settings import Application, Settings

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
TAILS = {True: "higher", False: "lower", None: "both"}


def settings_page() -> str:
    """Every setting, its default and what it does."""
    lines = [
        "# Settings",
        "",
        "`tocsin.toml`, then environment variables, then flags; the later wins. A field under a table is named with",
        "two underscores in the environment: `TOCSIN_GATEWAY__PORT=9000` sets `port` under `[gateway]`. Lists and",
        "tables are JSON there. `tocsin config show` prints every effective value and where it came from.",
        "",
        "| setting | default | may be | what it does |",
        "|---|---|---|---|",
        *(_row(name, field) for name, field in _fields(Settings)),
        *(_row(f"applications.NAME.{name}", field) for name, field in _fields(Application)),
    ]
    return "\n".join(lines) + "\n"


def _fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        elif name != "applications":
            yield f"{prefix}{name}", field


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | `{_default(field)}` | {_range(field)} | {field.description or ''} |"


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    bounds = ((sign, getattr(each, name, None)) for each in field.metadata for name, sign in SIGNS.items())
    return ", ".join(f"{sign} {bound:.12g}" for sign, bound in bounds if bound is not None)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return str("" if value is None else value) or " "


def signals_page() -> str:
    """Every signal, its kind, unit and flag threshold."""
    lines = [
        "# Signals",
        "",
        "Numbers that are read off every interaction; one that does not apply is absent. Text signals are computed for",
        "the prompt and for the response. A flag is raised above the threshold. *Watched* signals are drift streams,",
        "each with its share of the page budget; *worse* says on which side a change pages. `watch.signals` chooses",
        "others. [signal-quality.md](signal-quality.md) says how good they are, [custom-signals.md](custom-signals.md)",
        "how to add one.",
        "",
        "| signal | kind | unit | flag above | watched | worse | what it is |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, output in sorted(signal_outputs().items()):
        threshold = "" if output.threshold is None else f"{output.threshold:g}"
        worse = TAILS[output.higher_is_worse]
        watched = "yes" if output.watched else ""
        cells = [f"`{name}`", output.kind, output.unit, threshold, watched, worse, output.description]
        lines.append(f"| {' | '.join(cells)} |")
    for name in sorted(REPEAT_SIGNALS.values()):
        lines.append(f"| `{name}` | binary | | | yes | higher | repeats one of the last 256 (cosine above .98) |")
    labels = ", ".join(f"`{name}`" for name in signal_labels())
    return "\n".join([*lines, "", f"Labels, which are words and not numbers: {labels}.", ""])


def metrics_page() -> str:
    """Every metric of our own."""
    lines = [
        "# Metrics",
        "",
        "Served at `/metrics`, in Prometheus' format, by the process that runs the gateway, and by each worker",
        "that has a `worker.port`.",
        "",
        "| metric | what it says |",
        "|---|---|",
    ]
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            lines.append(f"| `{value._name}` | {value._documentation} |")
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "signals.md": signals_page, "metrics.md": metrics_page, "heads.md": heads_page}


def main(directory: Path, check: Annotated[bool, typer.Option("--check")] = False) -> None:
    """Write the pages, or compare them."""
    stale = []
    for name, page in PAGES.items():
        file, text = directory / name, page()
        if check and (not file.exists() or file.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            file.write_text(text, encoding="utf-8")
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `python -m streams.documentation {directory}`")


if __name__ == "__main__":
    typer.run(main)
