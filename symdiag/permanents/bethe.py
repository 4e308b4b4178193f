"""The Bethe permanent: belief propagation for marginals, and a certified lower bound from them.

For every doubly stochastic P, log perm A >= sum_ij P_ij log(A_ij / P_ij) + (1 - P_ij) log(1 - P_ij)
(Gurvits 2011 / Schrijver 1998; docs/theory/permanents.md, 5).
"""

from __future__ import annotations

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.kernels import compiled


def beliefs(
    weights: Array, *, sweeps: int = 60, tolerance: float = 1e-6, messages: Array | None = None
) -> Array:
    """Bethe marginals (n, n) of a scaled nonnegative matrix by belief propagation; rows and columns sum to about 1.

    Args:
        weights: (n, n), best Sinkhorn-scaled: then messages stay near 1.
        sweeps: most sweeps over both sides; past 200 they are damped.
        tolerance: relative change of messages at which to stop.
        messages: (n, n) row-to-column messages to start from, updated in place (warm start).
    """
    n = len(weights)
    if n == 1:
        return np.ones((1, 1))
    rows = np.ones((n, n)) if messages is None else messages
    scratch = np.empty((n, n))
    loop = compiled("bethe_sweeps") or _numpy_sweeps
    loop(np.ascontiguousarray(weights), rows, scratch, sweeps, tolerance)
    odds = np.minimum(weights * np.minimum(rows, 1e150) * np.minimum(scratch, 1e150), 1e300)
    return np.asarray(odds / (1.0 + odds))


def _numpy_sweeps(
    weights: Array, rows: Array, scratch: Array, sweeps: int, tolerance: float
) -> int:
    """``loops.bethe_sweeps`` vectorised."""
    for sweep in range(sweeps):
        scratch[:] = 1.0 / np.maximum(_others(weights * rows, axis=0), 1e-300)
        new = 1.0 / np.maximum(_others(weights * scratch, axis=1), 1e-300)
        change = float((np.abs(new - rows) / (new + rows)).max())
        rows[:] = np.sqrt(new * rows) if sweep > 200 else new
        if change < tolerance:
            return sweep + 1
    return sweeps


def _others(values: Array, axis: int) -> Array:
    """Sums over the axis without each element itself; the largest is left out exactly, not by subtraction."""
    rest = values.sum(axis=axis, keepdims=True) - values
    top = np.expand_dims(values.argmax(axis=axis), axis)
    without = values.copy()
    np.put_along_axis(without, top, 0.0, axis)
    np.put_along_axis(rest, top, without.sum(axis=axis, keepdims=True), axis)
    return np.asarray(rest)
