"""The pictures of docs/benchmark-drift.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.drift.changes import SHIFTS
from benchmarks.drift.ledger import Record
from benchmarks.drift.targets import TRAPS, Tables

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "tocsin", "font.size": 9, "axes.spines.top": False,
         "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False}  # fmt: skip


def draw(tables: Tables, folder: Path) -> None:
    """All pictures that there are figures for."""
    shares = [row for row in tables["equal"] if row["N"] == 10_000]
    for name, rows, plot in (
        ("null", [row for row in tables["null"] if row["traffic"] not in TRAPS], _null),
        ("evidence", tables["curves"], _evidence),
        ("share", shares, _shares),
    ):
        if rows:
            with _picture(folder / f"drift-{name}.svg", 2 if name == "share" else 1) as axes:
                plot(axes, rows)


@contextmanager
def _picture(file: Path, columns: int) -> Iterator[list[Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.5 * columns + 3, 4), layout="constrained")
        yield list(figure.subplots(1, columns, squeeze=False)[0])
        figure.savefig(file, format="svg", metadata={"Date": None})


def _null(axes: list[Axes], rows: Sequence[Record]) -> None:
    names = list(dict.fromkeys((row["traffic"], row["streams"], row["N"]) for row in rows))
    for place, name in enumerate(names):
        of = [row for row in rows if (row["traffic"], row["streams"], row["N"]) == name]
        ratios = [row["pages / budget"] for row in of]
        errors = [
            [row["pages / budget"] - row["low"] for row in of],
            [row["high"] - row["pages / budget"] for row in of],
        ]
        aside = 1.06 ** (place - len(names) / 2)  # so that intervals at one c stand beside each other
        label = f"{name[0]}, {name[1]}, N = {name[2]:,}"
        axes[0].errorbar([row["c"] * aside for row in of], ratios, yerr=errors, fmt="o", ms=3, lw=1, label=label)
    axes[0].axhline(1, color="black", lw=1)
    axes[0].set(xscale="log", xlabel="c, units per page of budget", ylabel="false pages / budget", ylim=(0, 1.5))
    axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)


def _evidence(axes: list[Axes], rows: Sequence[Record]) -> None:
    for row in rows:
        since = [i * row["step"] - row["change at"] for i in range(1, len(row["evidence"]) + 1)]
        axes[0].plot(since, [max(one, 1e-6) for one in row["evidence"]], lw=1, label=row["change"])
    axes[0].axhline(1, color="black", lw=1)
    axes[0].axvline(0, color="black", lw=0.5, ls=":")
    axes[0].set_xscale("symlog", linthresh=64)
    axes[0].set(yscale="log", xlabel="units since the change", ylabel="evidence, 1 is a page", xlim=(-64, 2_048))
    axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)


def _shares(axes: list[Axes], rows: Sequence[Record]) -> None:
    shares = {name: int(name.split()[1]) for name in SHIFTS if name.startswith("topic")}
    for axis, time in zip(axes, dict.fromkeys(row["mean time"] for row in rows), strict=False):
        for row in (row for row in rows if row["mean time"] == time):
            ours = row["method"] == "ours"
            delays = [row[name] for name in shares]
            axis.plot(list(shares.values()), delays, marker="o", ms=3, lw=2.5 if ours else 1, label=row["method"])
        axis.set(xscale="log", yscale="log", xlabel="share of changed traffic (topic), %", ylabel="mean delay, units")
        axis.set(xticks=list(shares.values()), xticklabels=[str(share) for share in shares.values()])
        axis.minorticks_off()
        axis.set_title(f"mean time to false alarm {time:,}, N = 10,000", fontsize=9)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
