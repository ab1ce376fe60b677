"""What the compiled loops must not depend on."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numba
import pytest

from detectors.drift import kernels


def test_what_is_compiled_comes_from_one_file_since_machine_code_is_kept_by_its_date() -> None:
    tree = ast.parse(Path(kernels.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    ours = ("detectors", "streams", "sinks", "dashboards", "tocsin")
    assert {name for name in imported if str(name).split(".")[0] in ours} == set()


def test_where_nothing_can_be_kept_loops_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = numba.njit

    def njit(*arguments: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*arguments, **options)

    monkeypatch.setattr(numba, "njit", njit)

    def double(value: float) -> float:
        return 2 * value

    made = kernels.compiled(double)
    assert made(2.0) == 4.0 and made.signatures, "compiled, not the function as it was"  # type: ignore[attr-defined]
