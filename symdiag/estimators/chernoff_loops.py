"""The hot loop of the Chernoff coefficients, compiled by numba at its first call and cached on
disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

from symdiag.arrays import Array

F = TypeVar("F", bound=Callable[..., object])
CHUNK = 16
"""Coordinates whose variances are multiplied before one logarithm is taken."""


def _jit(function: F) -> F:
    # reassociation lets both reductions vectorise; inf and nan keep their meaning
    return cast(
        F, numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})(function)
    )


@_jit
def overlaps(
    slots: Array, points: Array, variance: Array, logs: Array, power: float, floor: float
) -> Array:
    """(n, n) sums over coordinates of log ∫ N(slots_i, v_i)^s N(points_j, v_j)^{1−s}; arguments (n,
    D).

    ``logs`` (n, ⌈D/16⌉) holds the log stds summed by chunks of 16 coordinates. No term of a chunk
    is positive (Hölder), so a sum left off below ``floor`` is an upper bound.
    """
    n, size = slots.shape
    half = 0.5 * power * (1.0 - power)
    result = np.empty((n, n))
    symmetric = power == 0.5
    for i in range(n):
        for j in range(i + 1 if symmetric else n):
            total = 0.0
            chunk = 0
            while chunk * CHUNK < size and total > floor:
                product = 1.0
                energy = 0.0
                for d in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, size)):
                    v = power * variance[j, d] + (1.0 - power) * variance[i, d]
                    gap = slots[i, d] - points[j, d]
                    product *= v
                    energy += gap * gap / v
                term = (1.0 - power) * logs[i, chunk] + power * logs[j, chunk]
                term -= 0.5 * np.log(product) + half * energy
                total += min(term, 0.0)
                chunk += 1
            result[i, j] = total
            if symmetric:
                result[j, i] = total
    return result
