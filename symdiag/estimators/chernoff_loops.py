"""The hot loops of the Chernoff bounds, compiled by numba at their first call and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

from symdiag.arrays import Array, IntArray

F = TypeVar("F", bound=Callable[..., object])
CHUNK = 16
"""Coordinates whose variances are multiplied before one logarithm is taken."""
NEVER = 1e6  # nats that a deterministic weight charges for a change


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


@_jit
def fixed_costs(loc: Array, scale: Array, power: float, flipped: bool, kept: IntArray) -> Array:
    """(m, n, n): Σ of the ``kept[m]`` smallest of −log ∫ N(slot)^s N(unit)^{1−s} over a unit's partners.

    ``loc`` and ``scale`` are (n, p, D): D weights between each of n units (or their slots) and each of p partners,
    which stay where they are. Weights of scale 0 are deterministic: they cost nothing where they agree.
    """
    n, partners, size = loc.shape
    result = np.empty((kept.shape[0], n, n))
    terms = np.empty(partners)
    sign = -1.0 if flipped else 1.0
    half = 0.5 * power * (1.0 - power)
    logs = np.log(np.where(scale > 0.0, scale, 1.0))
    symmetric = power == 0.5
    for i in range(n):
        for j in range(i + 1 if symmetric else n):
            for p in range(partners):
                total = 0.0
                for d in range(size):
                    a, b = scale[i, p, d], scale[j, p, d]
                    gap = loc[i, p, d] - sign * loc[j, p, d]
                    if a > 0.0 and b > 0.0:
                        v = power * b * b + (1.0 - power) * a * a
                        total += 0.5 * np.log(v) + half * gap * gap / v
                        total -= (1.0 - power) * logs[i, p, d] + power * logs[j, p, d]
                    elif a > 0.0 or b > 0.0 or gap != 0.0:
                        total += NEVER
                terms[p] = max(total, 0.0)
            terms.sort()
            for m in range(kept.shape[0]):
                result[m, i, j] = terms[: kept[m]].sum()
                if symmetric:
                    result[m, j, i] = result[m, i, j]
    return result


@_jit
def log_symmetric_sums(logs: Array) -> Array:
    """Logs of the elementary symmetric polynomials e_0 … e_n of exp(logs), (n + 1,)."""
    n = logs.shape[0]
    result = np.full(n + 1, -np.inf)
    result[0] = 0.0
    for i in range(n):
        if logs[i] == -np.inf:
            continue
        for k in range(i + 1, 0, -1):
            more = result[k - 1] + logs[i]
            high, low = max(result[k], more), min(result[k], more)
            if high > -np.inf:
                result[k] = high + np.log1p(np.exp(low - high))
    return result
