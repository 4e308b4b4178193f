"""The refusal of a scale whose meaning the file leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import UnsupportedError
from symdiag.formats.interface import to_float64
from symdiag.formats.transforms import EXP, IDENTITY, SOFTPLUS


def ambiguous(keys: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> UnsupportedError:
    """The error ``ambiguous-scale-transform``, with the range of stds that each reading of ``keys`` would give."""
    values = np.concatenate([to_float64(arrays[key]).reshape(-1) for key in keys])
    candidates = [SOFTPLUS, EXP, *([IDENTITY] if np.all(values > 0) else [])]
    ranges = []
    for transform in candidates:
        std = transform.forward(values)
        ranges.append(f"{transform.name}: σ in [{std.min():.3g}, {std.max():.3g}]")
    more = f" and {len(keys) - 1} more like it" if len(keys) > 1 else ""
    return UnsupportedError(
        f"{keys[0]}{more} could mean different stds: {'; '.join(ranges)}",
        code="ambiguous-scale-transform",
        hint=f"say which with --scale-transform {' or '.join(t.name for t in candidates)}",
    )
