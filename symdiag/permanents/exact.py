"""Exact permanents and marginals by subset dynamic programming in plain float64, n <= 24.

Cost O(2^n n); entries are dual-scaled first, every term is nonnegative, so no cancellation (Ryser's
and Glynn's alternating sums lose all digits at our dynamic range).
"""

from __future__ import annotations

import functools

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.errors import UsageError
from symdiag.permanents.loops import subset_permanent
from symdiag.permanents.scaling import dual_scale

LARGEST = 24
"""Rows up to which 2^n numbers are worth holding."""
SMALL = 8
"""Rows up to which ``small_log_permanents`` beats one compiled call per matrix."""


@functools.lru_cache(maxsize=4)
def _popcounts(n: int) -> IntArray:
    counts = np.zeros(1, dtype=np.int64)
    for _ in range(n):
        # the upper half of the masks is the lower half with one bit more
        counts = np.concatenate([counts, counts + 1])
    return counts


def scaled_permanent(weights: Array, *, with_marginals: bool = False) -> tuple[float, Array | None]:
    """Permanent (>= 1) of one dual-scaled (n, n) matrix, and its marginals P (n, n) when asked for."""
    n = len(weights)
    if n > LARGEST:
        raise UsageError(f"exact permanents go up to {LARGEST} x {LARGEST}, not {n} x {n}")
    size = 1 << n
    marginals = np.zeros((n, n))
    backward = np.empty(size if with_marginals else 0)
    forward, contiguous = np.empty(size), np.ascontiguousarray(weights)
    value = float(subset_permanent(contiguous, forward, backward, _popcounts(n), marginals))
    return value, marginals / value if with_marginals else None


def exact_log_permanent(log_weights: Array) -> Array:
    """log perm (B,) in nats of (B, n, n) log weights, n <= 24; -inf where the permanent is zero.

    Raises:
        UsageError: n > 24.
    """
    return np.array([_single(matrix, with_marginals=False)[0] for matrix in log_weights])


def exact_marginals(log_weights: Array) -> tuple[Array, Array]:
    """log perm (B,) and marginals P (B, n, n) = d log perm / d log A; P is 0 where the permanent is
    zero.

    Raises:
        UsageError: n > 24.
    """
    pairs = [_single(matrix, with_marginals=True) for matrix in log_weights]
    values = np.array([value for value, _ in pairs])
    return values, np.array([p for _, p in pairs]).reshape(log_weights.shape)


def _single(matrix: Array, *, with_marginals: bool) -> tuple[float, Array]:
    scaled = dual_scale(matrix)
    result = np.zeros_like(matrix)
    if not np.isfinite(scaled.offset):
        return -np.inf, result
    value, marginals = scaled_permanent(np.exp(scaled.log_scaled), with_marginals=with_marginals)
    if marginals is not None:
        result[:, scaled.columns] = marginals
    return scaled.offset + float(np.log(value)), result


def small_log_permanents(log_weights: Array) -> Array:
    """log perm (B,) in nats of (B, n, n) log weights; -inf where the permanent is zero. Cost B n
    2^n log-additions.

    No dual scaling: sums are of logarithms, so nothing overflows, and the error is n roundings of
    the largest entry.
    """
    count, n, _ = log_weights.shape
    sizes = np.array([mask.bit_count() for mask in range(1 << n)])
    # (2^n, B): the batch is last, so that a subset's values lie side by side
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
