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
_MANTISSA = 2.0**-53
_SCRAMBLE = np.uint64(0x2545F4914F6CDD1D)  # xorshift64*: the output is the state times this
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_STRIPE = 64  # columns per partial sum: a pick scans one stripe instead of the row


def _jit(function: F) -> F:
    # reassociation lets sums vectorise; inf and nan keep their meaning
    return cast(
        F, numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})(function)
    )


def _jit_exact(function: F) -> F:
    # comparisons with nan decide here, and seeds must reproduce: no freedom for the compiler
    return cast(F, numba.njit(cache=True, nogil=True)(function))


@_jit
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
                marginals[row, j] += forward[mask] * term
        backward[mask] = total
    return float(forward[full])


@_jit
def _masked_sum(free: ByteArray, values: Array) -> float:
    total = 0.0
    for j in range(values.shape[0]):
        total += free[j] * values[j]
    return total


@_jit
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
        if free[j] and (odds[j] > 0.0 or last < 0):
            last = j
            run += odds[j]
            if run > goal and odds[j] > 0.0:
                break
    return last


@_jit
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


@_jit_exact
def _find(cumulative: Array, goal: float) -> int:
    low = 0
    high = cumulative.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > goal:
            high = middle
        else:
            low = middle + 1
    return low


@_jit_exact
def _next(state: np.uint64) -> np.uint64:
    """One step of xorshift64 (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@_jit_exact
def _pair(bits: np.uint64, n: int) -> tuple[np.int64, np.int64]:
    """Two different indices below n, by multiply and shift (division is slow)."""
    i = np.int64(((bits >> _HALF) * np.uint64(n)) >> _HALF)
    k = np.int64(((bits & _LOW) * np.uint64(n - 1)) >> _HALF)
    return i, k + 1 if k >= i else k


@_jit_exact
def _uniform(bits: np.uint64) -> float:
    return np.float64(bits >> np.uint64(11)) * _MANTISSA


@_jit_exact
def swap_loop(
    log_weights: Array,
    cumulative: Array,
    proposal: Array,
    seed: np.uint64,
    steps: int,
    burn: int,
    held: IntArray,
    occupation: Array,
) -> int:
    """Metropolis swaps on ``held`` in place; adds the time spent at each (row, column) after
    ``burn``.

    A row and the column to move it to are proposed with odds ``proposal`` (running sums
    ``cumulative``), or two rows uniformly where these are empty; returns the swaps accepted.
    """
    n = held.shape[0]
    informed = cumulative.shape[0] > 0
    holder = np.empty(n, dtype=np.int64)
    since = np.full(n, burn)
    for row in range(n):
        holder[held[row]] = row
    accepted = 0
    state = seed
    for t in range(steps):
        state = _next(state)
        i, k = _pair(state * _SCRAMBLE, n)
        if informed:
            state = _next(state)
            goal = _uniform(state * _SCRAMBLE) * cumulative[i, n - 1]
            k = holder[_find(cumulative[i], goal)]
            if k == i:
                continue
        a = held[i]
        c = held[k]
        gain = log_weights[i, c] + log_weights[k, a] - log_weights[i, a] - log_weights[k, c]
        if informed:  # the same swap can be proposed from either row, there and back
            forth = proposal[i, c] + proposal[k, a]
            gain += np.log((proposal[i, a] + proposal[k, c]) / forth)
        if not gain >= 0.0:  # a loss, or nan: forbidden twice over
            state = _next(state)
            # below the resolution of the random number nothing is accepted
            if not (gain > -37.0 and _uniform(state * _SCRAMBLE) < np.exp(gain)):
                continue
        accepted += 1
        if t > burn:
            occupation[i, a] += t - since[i]
            occupation[k, c] += t - since[k]
            since[i] = t
            since[k] = t
        held[i] = c
        held[k] = a
        holder[c] = i
        holder[a] = k
    for row in range(n):
        occupation[row, held[row]] += max(steps - since[row], 0)
    return accepted


@_jit
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
    rest[:] = 0.0
    for i in range(n):
        for j in range(n):
            if i != arg[j]:
                rest[j] += weights[i, j] * rows[i, j]


@_jit
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
        messages[j] = np.sqrt(new * messages[j]) if damped else new
    return change


@_jit
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
