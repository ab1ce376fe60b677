"""bfloat16 in numpy: the upper half of a float32. What is stored, published and compared are the same 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_bfloat16", "round_bfloat16", "to_bfloat16", "unit_bfloat16"]

_QUIET_NAN = np.uint16(0x7FC0)


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of `x` as bfloat16, rounded to nearest, ties to even. Any shape.

    >>> hex(int(to_bfloat16(np.array([1.0], np.float32))[0]))
    '0x3f80'
    """
    values = np.ascontiguousarray(x, dtype=np.float32)
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    # Adding half of the lowest kept bit carries into it exactly when rounding up is right; a NaN would wrap around.
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(values), _QUIET_NAN, rounded)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 values of bfloat16 bits; exact."""
    wide: NDArray[Any] = np.ascontiguousarray(bits, dtype=np.uint16).astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32)


def round_bfloat16(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """`x` with the precision of bfloat16 (8 significant bits), still as float32. Idempotent."""
    return from_bfloat16(to_bfloat16(x))


def unit_bfloat16(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (n, d) of unit length, rounded to bfloat16; a row of zeros stays one."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return round_bfloat16(np.divide(x, norms, out=np.zeros_like(x), where=norms > 0))
