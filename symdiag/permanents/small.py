"""Many tiny permanents at once: the subset recursion in the log domain, vectorised over matrices."""

from __future__ import annotations

import numpy as np

from symdiag.arrays import Array, IntArray

WIDEST = 8
"""Rows up to which this beats one compiled call per matrix."""


def small_log_permanents(log_weights: Array) -> Array:
    """log perm (B,) in nats of (B, n, n) log weights; -inf where the permanent is zero. Cost B n 2^n log-additions.

    No dual scaling: sums are of logarithms, so nothing overflows, and the error is n roundings of the largest entry.
    """
    count, n, _ = log_weights.shape
    sizes = np.array([mask.bit_count() for mask in range(1 << n)])
    forward = np.full((1 << n, count), -np.inf)
    forward[0] = 0.0
    for row in range(n):
        masks = np.flatnonzero(sizes == row + 1)
        for j in range(n):
            holding: IntArray = masks[(masks >> j) & 1 == 1]
            forward[holding] = np.logaddexp(
                forward[holding], forward[holding ^ (1 << j)] + log_weights[:, row, j]
            )
    return np.asarray(forward[-1])
