"""Rows of the store as JSON can say them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can say it."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    if isinstance(value, str | int | float | bool | list | dict | None):
        return value
    return str(value)
