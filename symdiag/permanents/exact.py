"""Exact permanents and marginals by subset dynamic programming in plain float64, n <= 24.

Cost O(2^n n); entries are dual-scaled first, every term is nonnegative, so no cancellation (Ryser's and Glynn's
alternating sums lose all digits at our dynamic range).
"""

from __future__ import annotations

import functools

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.errors import UsageError
from symdiag.permanents.kernels import compiled
from symdiag.permanents.scaling import dual_scale

LARGEST = 24


@functools.lru_cache(maxsize=4)
def _popcounts(n: int) -> IntArray:
    counts = np.zeros(1, dtype=np.int64)
    for _ in range(n):
        counts = np.concatenate([counts, counts + 1])
    return counts


def scaled_permanent(weights: Array, *, with_marginals: bool = False) -> tuple[float, Array | None]:
    """Permanent (>= 1) of one dual-scaled (n, n) matrix, and its marginals P (n, n) when asked for."""
    n = len(weights)
    if n > LARGEST:
        raise UsageError(f"exact permanents go up to {LARGEST} x {LARGEST}, not {n} x {n}")
    kernel = compiled("subset_permanent")
    if kernel is None:
        return _numpy_permanent(weights, with_marginals)
    size = 1 << n
    marginals = np.zeros((n, n))
    backward = np.empty(size if with_marginals else 0)
    value = float(
        kernel(np.ascontiguousarray(weights), np.empty(size), backward, _popcounts(n), marginals)
    )
    return value, marginals / value if with_marginals else None


def _numpy_permanent(weights: Array, with_marginals: bool) -> tuple[float, Array | None]:
    """The same sums, layer by layer of equal subset size."""
    n = len(weights)
    counts = _popcounts(n)
    layers = [np.flatnonzero(counts == size) for size in range(n + 1)]
    forward = np.zeros(1 << n)
    forward[0] = 1.0
    for row in range(n):
        for j in range(n):
            masks = layers[row + 1]
            masks = masks[(masks >> j) & 1 == 1]
            forward[masks] += weights[row, j] * forward[masks ^ (1 << j)]
    value = float(forward[-1])
    if not with_marginals:
        return value, None
    backward = np.zeros(1 << n)
    backward[-1] = 1.0
    marginals = np.zeros((n, n))
    for row in range(n - 1, -1, -1):
        for j in range(n):
            masks = layers[row]
            masks = masks[(masks >> j) & 1 == 0]
            terms = weights[row, j] * backward[masks | (1 << j)]
            backward[masks] += terms
            marginals[row, j] = forward[masks] @ terms
    return value, marginals / value


def exact_log_permanent(log_weights: Array) -> Array:
    """log perm (B,) in nats of (B, n, n) log weights, n <= 24; -inf where the permanent is zero.

    Raises:
        UsageError: n > 24.
    """
    return np.array([_single(matrix, with_marginals=False)[0] for matrix in log_weights])


def exact_marginals(log_weights: Array) -> tuple[Array, Array]:
    """log perm (B,) and marginals P (B, n, n) = d log perm / d log A; P is 0 where the permanent is zero.

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
