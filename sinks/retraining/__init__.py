"""Starts retraining runs. A module here with `build(options) -> Target` is a target, and its name is the target's."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from sinks.retraining.target import (
    Exited,
    Options,
    Refused,
    RetrainingConfigurationError,
    Run,
    Running,
    Started,
    Target,
    Unavailable,
)

__all__ = [
    "Exited",
    "Options",
    "Refused",
    "RetrainingConfigurationError",
    "Run",
    "Running",
    "Started",
    "Target",
    "Unavailable",
    "build_target",
    "target_names",
]


def target_names() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    modules = sorted(module.name for module in iter_modules(__path__))
    return tuple(name for name in modules if hasattr(import_module(f"{__name__}.{name}"), "build"))


def build_target(name: str, options: Options) -> Target:
    """The target of this name, ready to start runs.

    Raises:
        RetrainingConfigurationError: there is no such target, or an option that it needs is wrong.
    """
    if name not in target_names():
        raise RetrainingConfigurationError(f"retraining.target: {name!r} is none of {', '.join(target_names())}")
    target: Target = import_module(f"{__name__}.{name}").build(options)
    return target
