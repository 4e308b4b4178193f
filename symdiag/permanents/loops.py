"""The hot loops, compiled by numba at their first call and cached on disk; imported through ``kernels`` only.

Each has a NumPy twin beside its caller that gives the same results. One specialisation each: float64, C-contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

from symdiag.permanents.types import Array, ByteArray, IntArray

F = TypeVar("F", bound=Callable[..., object])
_STRIPE = 64  # columns per partial sum: a pick scans one stripe instead of the row


def _jit(function: F) -> F:
    # reassociation lets sums vectorise; inf and nan keep their meaning
    return cast(F, numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})(function))


@_jit
def subset_permanent(weights: Array, forward: Array, backward: Array, counts: IntArray, marginals: Array) -> float:
    """Permanent of one (n, n) matrix by subset dynamic programming; marginals too unless ``backward`` is empty.

    ``forward[mask]`` sums over ways to give the first popcount(mask) rows the columns of mask; ``backward`` completes.
    All terms are nonnegative, so there is no cancellation.
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
def _pick(free: ByteArray, odds: Array, stripes: Array, uniform: float) -> int:
    """A free column with probability proportional to its odds, given the sums over stripes of columns."""
    n = odds.shape[0]
    goal = uniform * stripes.sum()
    run = 0.0
    first = 0
    for s in range(stripes.shape[0]):
        first = s * _STRIPE
        if run + stripes[s] > goal or s == stripes.shape[0] - 1:
            break
        run += stripes[s]
    last = -1
    for j in range(first, n):
        if free[j] and odds[j] > 0.0:
            last = j
            run += odds[j]
            if run > goal:
                return j
    for j in range(n - 1, -1, -1):
        if last >= 0:
            break
        if free[j] and (odds[j] > 0.0 or stripes.sum() <= 0.0):
            last = j
    return last


@_jit
def _advance(free: ByteArray, odds: Array, uniform: float, forced: int, stripes: Array) -> tuple[int, float]:
    """Column taken by one particle (``forced`` if >= 0), now no longer free, and the sum of odds it was drawn from."""
    total = 0.0
    for s in range(stripes.shape[0]):
        stripes[s] = _masked_sum(free[s * _STRIPE : (s + 1) * _STRIPE], odds[s * _STRIPE : (s + 1) * _STRIPE])
        total += stripes[s]
    pick = forced if forced >= 0 else _pick(free, odds, stripes, uniform)
    free[pick] = 0
    return pick, total


@_jit
def _offspring(expected: Array, order: IntArray, shift: float, keep: int, offspring: IntArray) -> None:
    """Systematic resampling: ``offspring`` of particles with ``expected`` numbers, laid out in ``order``."""
    particles = expected.shape[0]
    run = 0.0
    before = 0
    for position in range(particles):
        run += expected[order[position]]
        after = int(np.ceil(run - shift)) if position < particles - 1 else particles
        after = min(max(after, before), particles)
        offspring[order[position]] = after - before
        before = after
    if keep > 0 and offspring[0] == 0:  # rounding only: the retained particle always has offspring
        for k in range(particles):
            if offspring[k] > 0:
                offspring[k] -= 1
                break
        offspring[0] = 1


@_jit
def _size_biased(expected: float, uniform: float, chooser: float) -> float:
    """``smc.size_biased_shift``."""
    whole = np.floor(expected)
    part = expected - whole
    heavy = part * (whole + 1.0)
    if chooser * (heavy + (1.0 - part) * whole) < heavy:
        return float(uniform * part)
    return float(part + uniform * (1.0 - part))


@_jit
def _replace(free: ByteArray, offspring: IntArray, ancestors: IntArray) -> None:
    """Copy survivors over particles without offspring; survivors keep their slot."""
    source = 0
    for k in range(offspring.shape[0]):
        ancestors[k] = k
    for k in range(offspring.shape[0]):
        if offspring[k] == 0:
            while offspring[source] <= 1:
                source += 1
            offspring[source] -= 1
            ancestors[k] = source
            free[k, :] = free[source, :]


@_jit
def _resample(
    free: ByteArray, weight: Array, uniforms: Array, shuffle: Array, keep: int, order: IntArray, ancestors: IntArray
) -> None:
    """Resample from ``weight`` (expected offspring); with ``keep`` particle 0 survives, the others in random order."""
    particles = weight.shape[0]
    shift = uniforms[0]
    if keep > 0:
        for k in range(particles - 1, 1, -1):
            swap = 1 + int(shuffle[k] * k)
            held = order[k]
            order[k] = order[swap]
            order[swap] = held
        shift = _size_biased(weight[0], shift, uniforms[1])
    offspring = np.zeros(particles, dtype=np.int64)
    _offspring(weight, order, shift, keep, offspring)
    _replace(free, offspring, ancestors)


@_jit
def row_smc(
    odds: Array,
    log_h: Array,
    uniforms: Array,
    resample_uniforms: Array,
    shuffle: Array,
    forced: IntArray,
    threshold: float,
    stride: int,
    choices: IntArray,
    ancestors: IntArray,
    log_proposal: Array,
    log_weight: Array,
) -> float:
    """Sequential Monte Carlo over rows; arguments as in ``smc.run``. Returns log Z-hat up to the last resampling."""
    n, particles = choices.shape
    keep = forced.shape[1]
    free = np.ones((particles, n), dtype=np.uint8)
    stripes = np.zeros((n + _STRIPE - 1) // _STRIPE)
    order = np.arange(particles)
    ahead = np.zeros(particles)
    settled = np.zeros(particles)  # look-ahead already counted in log_weight's origin
    log_z = 0.0
    for t in range(n):
        for k in range(particles):
            pick, total = _advance(free[k], odds[t], uniforms[t, k], forced[t, k] if k < keep else -1, stripes)
            choices[t, k] = pick
            if total > 0.0 and odds[t, pick] > 0.0:
                log_weight[k] += np.log(total) + log_h[t + 1, pick]
                log_proposal[k] += np.log(odds[t, pick]) - np.log(total)
            else:
                log_weight[k] = -np.inf
                log_proposal[k] = -np.inf
        if threshold <= 0.0 or t == n - 1 or (t + 1) % stride != 0:
            continue
        for k in range(particles):
            ahead[k] = log_weight[k] - settled[k] + _masked_sum(free[k], log_h[t + 1])
        top = ahead.max()
        if top == -np.inf:
            return -np.inf
        weight = np.exp(ahead - top)
        mass = weight.sum()
        if mass * mass >= threshold * particles * (weight * weight).sum():
            continue
        log_z += top + np.log(mass / particles)
        _resample(
            free,
            weight * (particles / mass),
            resample_uniforms[t],
            shuffle[t % shuffle.shape[0]],
            keep,
            order,
            ancestors[t],
        )
        for k in range(particles):
            settled[k] = _masked_sum(free[k], log_h[t + 1])
            log_weight[k] = 0.0
    for k in range(particles):
        log_weight[k] -= settled[k]
    return log_z


@_jit
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


@_jit
def swap_chain(
    log_weights: Array,
    cumulative: Array,
    proposal: Array,
    uniforms: Array,
    state: IntArray,
    occupation: Array,
    burn: int,
) -> int:
    """Metropolis swaps on ``state`` in place; adds the time spent at each (row, column) after ``burn`` steps."""
    n = state.shape[0]
    steps = uniforms.shape[0]
    holder = np.empty(n, dtype=np.int64)
    since = np.full(n, burn)
    for i in range(n):
        holder[state[i]] = i
    accepted = 0
    for t in range(steps):
        i = int(uniforms[t, 0] * n)
        j = _find(cumulative[i], uniforms[t, 1] * cumulative[i, n - 1])
        k = holder[j]
        c = state[i]
        if k == i:
            continue
        gain = log_weights[i, j] + log_weights[k, c] - log_weights[i, c] - log_weights[k, j]
        forth = proposal[i, j] + proposal[k, c]
        back = proposal[i, c] + proposal[k, j]
        if uniforms[t, 2] * forth >= np.exp(min(gain, 700.0)) * back:
            continue
        accepted += 1
        if t >= burn:
            occupation[i, c] += t - since[i]
            occupation[k, j] += t - since[k]
            since[i] = t
            since[k] = t
        state[i] = j
        state[k] = c
        holder[j] = i
        holder[c] = k
    for i in range(n):
        occupation[i, state[i]] += max(steps - since[i], 0)
    return accepted


@_jit
def _column_sums(weights: Array, rows: Array, total: Array, top: Array, rest: Array, arg: IntArray) -> None:
    """Per column of weights * rows: the sum, the largest, the sum without the largest, and where the largest is."""
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
