"""The hot loops, compiled by numba at their first call and cached on disk.

One specialisation each: float64, C-contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

from symdiag.arrays import Array, ByteArray, IntArray

F = TypeVar("F", bound=Callable[..., object])
_STRIPE = 64  # columns per partial sum: a pick scans one stripe instead of the row


def fast_jit(function: F) -> F:
    """Compile for speed."""
    # reassociation lets sums vectorise; inf and nan keep their meaning
    return cast(
        F, numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})(function)
    )


def exact_jit(function: F) -> F:
    """Compile to the letter."""
    # comparisons with nan decide here, and seeds must reproduce: no freedom for the compiler
    return cast(F, numba.njit(cache=True, nogil=True)(function))


@fast_jit
def subset_permanent(
    weights: Array, forward: Array, backward: Array, counts: IntArray, marginals: Array
) -> float:
    """Permanent of one (n, n) matrix by subset dynamic programming; marginals too unless
    ``backward`` is empty.

    ``forward[mask]`` sums over ways to give the first popcount(mask) rows the columns of mask;
    ``backward`` completes. All terms are nonnegative, so there is no cancellation.
    """
    n = weights.shape[0]
    full = forward.shape[0] - 1
    forward[0] = 1.0
    for mask in range(1, full + 1):
        row = counts[mask] - 1
        total = 0.0
        for j in range(n):
            if (mask >> j) & 1:
                total += weights[row, j] * forward[mask ^ (1 << j)]
        forward[mask] = total
    if backward.shape[0] == 0:
        return float(forward[full])
    backward[full] = 1.0
    for mask in range(full - 1, -1, -1):
        row = counts[mask]
        total = 0.0
        for j in range(n):
            if not (mask >> j) & 1:
                term = weights[row, j] * backward[mask | (1 << j)]
                total += term
                # each permutation with pi(row) = j once: rows
                # before it fill the mask, rows after it the rest
                marginals[row, j] += forward[mask] * term
        backward[mask] = total
    return float(forward[full])


@fast_jit
def _masked_sum(free: ByteArray, values: Array) -> float:
    total = 0.0
    for j in range(values.shape[0]):
        total += free[j] * values[j]
    return total


@fast_jit
def _pick(free: ByteArray, odds: Array, stripes: Array, goal: float) -> int:
    """The free column at which the running sum of odds passes ``goal``, given the sums over stripes
    of columns.
    """
    stripe = 0
    run = 0.0
    while stripe < stripes.shape[0] - 1 and run + stripes[stripe] <= goal:
        run += stripes[stripe]
        stripe += 1
    last = -1
    for j in range(stripe * _STRIPE, odds.shape[0]):
        # rounding may put the goal beyond the sum: then the last free column with odds is taken
        if free[j] and (odds[j] > 0.0 or last < 0):
            last = j
            run += odds[j]
            if run > goal and odds[j] > 0.0:
                break
    return last


@fast_jit
def advance(
    free: ByteArray,
    odds: Array,
    log_h: Array,
    uniforms: Array,
    forced: IntArray,
    choices: IntArray,
    log_weight: Array,
    log_proposal: Array,
) -> None:
    """Let every SMC particle take a column for each of r rows.

    Args:
        free: (K, n) 1 where a particle has not used a column yet; updated in place.
        odds: (r, n) of these rows.
        log_h: (r, n) look-ahead after each of these rows.
        uniforms: (r, K).
        forced: (r, F) columns the first F particles must take.
        choices: (r, K) columns taken; filled.
        log_weight: (K,) grows by log of the sum of odds and log h at the pick; -inf at a dead end.
        log_proposal: (K,) grows by the log probability of the pick.
    """
    stripes = np.zeros((odds.shape[1] + _STRIPE - 1) // _STRIPE)
    for t in range(odds.shape[0]):
        for k in range(free.shape[0]):
            total = 0.0
            for s in range(stripes.shape[0]):
                cut = slice(s * _STRIPE, (s + 1) * _STRIPE)
                stripes[s] = _masked_sum(free[k, cut], odds[t, cut])
                total += stripes[s]
            pick = (
                forced[t, k]
                if k < forced.shape[1]
                else _pick(free[k], odds[t], stripes, uniforms[t, k] * total)
            )
            choices[t, k] = pick
            taken = 0.0
            if free[k, pick]:
                taken = odds[t, pick]
            free[k, pick] = 0
            if taken > 0.0:
                log_weight[k] += np.log(total) + log_h[t, pick]
                log_proposal[k] += np.log(taken) - np.log(total)
            else:
                log_weight[k] = -np.inf
                log_proposal[k] = -np.inf


@fast_jit
def _column_sums(
    weights: Array, rows: Array, total: Array, top: Array, rest: Array, arg: IntArray
) -> None:
    """Per column of weights * rows: the sum, the largest, the sum without the largest, and where
    the largest is.
    """
    n = weights.shape[0]
    total[:] = 0.0
    top[:] = -1.0
    for i in range(n):
        for j in range(n):
            value = weights[i, j] * rows[i, j]
            total[j] += value
            if value > top[j]:
                top[j] = value
                arg[j] = i
    # summed apart: total minus the largest would lose all digits where one entry dominates
    rest[:] = 0.0
    for i in range(n):
        for j in range(n):
            if i != arg[j]:
                rest[j] += weights[i, j] * rows[i, j]


@fast_jit
def _row_messages(values: Array, messages: Array, damped: bool) -> float:
    """messages_j = 1 / sum of the other values, in place; returns the largest relative change."""
    n = values.shape[0]
    arg = np.argmax(values)
    rest = 0.0
    for j in range(n):
        if j != arg:
            rest += values[j]
    total = rest + values[arg]
    change = 0.0
    for j in range(n):
        new = 1.0 / max(rest if j == arg else total - values[j], 1e-300)
        change = max(change, abs(new - messages[j]) / (new + messages[j]))
        # damped by a geometric mean: messages are positive and live on a log scale
        messages[j] = np.sqrt(new * messages[j]) if damped else new
    return change


@fast_jit
def bethe_sweeps(weights: Array, rows: Array, columns: Array, sweeps: int, tolerance: float) -> int:
    """Belief propagation for the Bethe permanent; see ``bethe.beliefs``. Returns the sweeps used."""
    n = weights.shape[0]
    total = np.empty(n)
    top = np.empty(n)
    rest = np.empty(n)
    arg = np.zeros(n, dtype=np.int64)
    values = np.empty(n)
    for sweep in range(sweeps):
        _column_sums(weights, rows, total, top, rest, arg)
        change = 0.0
        for i in range(n):
            for j in range(n):
                others = rest[j] if arg[j] == i else total[j] - weights[i, j] * rows[i, j]
                columns[i, j] = 1.0 / max(others, 1e-300)
                values[j] = weights[i, j] * columns[i, j]
            change = max(change, _row_messages(values, rows[i], sweep > 200))
        if change < tolerance:
            return sweep + 1
    return sweeps
