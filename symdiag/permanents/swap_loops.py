"""The loops of swap chains, compiled by numba at their first call and cached on disk: one on a matrix
of log weights, one on Gaussian densities that are worked out where a swap needs them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array, IntArray
from symdiag.permanents.loops import exact_jit, fast_jit

_MANTISSA = 2.0**-53
_SCRAMBLE = np.uint64(0x2545F4914F6CDD1D)  # xorshift64*: the output is the state times this
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@exact_jit
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


@exact_jit
def _next(state: np.uint64) -> np.uint64:
    """One step of xorshift64 (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@exact_jit
def _rows(bits: np.uint64, n: np.int64, partners: IntArray) -> tuple[np.int64, np.int64]:
    """A row below n and one of its ``partners`` (n, L), any other row where L = 0.

    By multiply and shift of the two halves of ``bits``: division is slow.
    """
    i = np.int64(((bits >> _HALF) * np.uint64(n)) >> _HALF)
    if partners.shape[1] > 0:
        return i, partners[i, np.int64(((bits & _LOW) * np.uint64(partners.shape[1])) >> _HALF)]
    k = np.int64(((bits & _LOW) * np.uint64(n - 1)) >> _HALF)
    return i, k + 1 if k >= i else k


@exact_jit
def _uniform(bits: np.uint64) -> float:
    return np.float64(bits >> np.uint64(11)) * _MANTISSA


@exact_jit
def swap_loop(
    log_weights: Array,
    cumulative: Array,
    proposal: Array,
    partners: IntArray,
    seed: np.uint64,
    steps: int,
    burn: int,
    held: IntArray,
    occupation: Array,
) -> int:
    """Metropolis swaps on ``held`` in place; adds the time spent at each (row, column) after
    ``burn``.

    A row and the column to move it to are proposed with odds ``proposal`` (running sums
    ``cumulative``); where these are empty a row and one of its ``partners`` (n, L), and where those
    are empty too, any two rows. Returns the swaps accepted.
    """
    n = np.int64(held.shape[0])
    informed = cumulative.shape[0] > 0
    holder = np.empty(n, dtype=np.int64)
    # time is added when a state is left; what came before the end of burn-in is not counted
    since = np.full(n, burn)
    for row in range(n):
        holder[held[row]] = row
    accepted = 0
    state = seed
    for t in range(steps):
        state = _next(state)
        i, k = _rows(state * _SCRAMBLE, n, partners)
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


@fast_jit
def _density(
    i: np.int64,
    j: np.int64,
    weighted: Array,
    half_precision: Array,
    constant: Array,
    flips: int,
    x: Array,
) -> tuple[float, float]:
    """log of the denser of q_i(x_j) and q_i(−x_j), and half the difference of the two logs.

    Without flips q_i(x_j) itself, and 0.
    """
    even = constant[i]
    odd = 0.0
    for d in range(flips):
        odd += weighted[i, d] * x[j, d]
        even -= half_precision[i, d] * x[j, d] * x[j, d]
    for d in range(max(flips, 0), x.shape[1]):
        even += (weighted[i, d] - half_precision[i, d] * x[j, d]) * x[j, d]
    return even + abs(odd), odd


@fast_jit
def _factor(odd: float, flips: int) -> float:
    """The sum of both signs' densities over the denser one: factors instead of logs of them save
    four transcendental functions a proposal.
    """
    return 1.0 + np.exp(-2.0 * abs(odd)) if flips >= 0 else 1.0


@fast_jit
def _share(factor: float, odd: float, flips: int) -> float:
    """The share of the kept sign less that of the flipped one, tanh(odd)."""
    return np.copysign(2.0 / factor - 1.0, odd) if flips >= 0 else 1.0


@fast_jit
def _record(
    time: float,
    i: np.int64,
    j: np.int64,
    share: float,
    weighted: Array,
    half_precision: Array,
    flips: int,
    x: Array,
    first: Array,
    second: Array,
    pulled: Array,
    pulled_half: Array,
) -> None:
    """Slot i held unit j for ``time`` steps; ``share`` is the difference of the two signs' shares."""
    for d in range(x.shape[1]):
        signed = time * share if d < flips else time
        first[i, d] += signed * x[j, d]
        second[i, d] += time * x[j, d] * x[j, d]
        pulled[j, d] += signed * weighted[i, d]
        pulled_half[j, d] += time * half_precision[i, d]


@fast_jit
def gaussian_swap_loop(
    weighted: Array,
    half_precision: Array,
    constant: Array,
    flips: int,
    draws: Array,
    partners: IntArray,
    seeds: NDArray[np.uint64],
    steps: int,
    burn: int,
    first: Array,
    second: Array,
    pulled: Array,
    pulled_half: Array,
) -> None:
    """Metropolis swaps of units between Gaussian slots; adds up moments after ``burn``.

    See ``gaussian_swaps.swap_moments``, whose arrays these are; ``flips`` is -1 without sign flips.
    Two slots are proposed whatever they hold, so that a gain is all that decides.
    """
    # one loop over 50 lines: its state is a dozen local scalars and rows that parts would hand around
    n = np.int64(partners.shape[0])
    held = np.empty(n, dtype=np.int64)
    since = np.empty(n, dtype=np.int64)
    # (n,) log density of each slot at what it holds: a proposal needs two new ones, not four
    value = np.empty(n)
    factor = np.empty(n)
    share = np.empty(n)
    for s in range(draws.shape[0]):
        x, pulled_s, pulled_half_s = draws[s], pulled[s], pulled_half[s]
        state = seeds[s]
        for row in range(n):
            unit = np.int64(row)
            held[row] = unit
            since[row] = burn
            value[row], odd = _density(unit, unit, weighted, half_precision, constant, flips, x)
            factor[row] = _factor(odd, flips)
            share[row] = _share(factor[row], odd, flips)
        for t in range(steps):
            state = _next(state)
            i, k = _rows(state * _SCRAMBLE, n, partners)
            a = held[i]
            c = held[k]
            to_i, odd_i = _density(i, c, weighted, half_precision, constant, flips, x)
            to_k, odd_k = _density(k, a, weighted, half_precision, constant, flips, x)
            gain = to_i + to_k - value[i] - value[k]
            # below the resolution of the random number, whatever the factors (within 1/4 and 4)
            if gain < -39.0:
                continue
            # a nan goes the way of exp, and is refused below
            ratio = 8.0 if gain >= 2.0 else np.exp(gain)
            factor_i, factor_k = _factor(odd_i, flips), _factor(odd_k, flips)
            ratio *= factor_i * factor_k / (factor[i] * factor[k])
            if not ratio >= 1.0:
                state = _next(state)
                if not _uniform(state * _SCRAMBLE) < ratio:
                    continue
            if t > burn:
                for slot, unit in ((i, a), (k, c)):
                    _record(
                        t - since[slot],
                        slot,
                        unit,
                        share[slot],
                        weighted,
                        half_precision,
                        flips,
                        x,
                        first,
                        second,
                        pulled_s,
                        pulled_half_s,
                    )
                    since[slot] = t
            held[i], value[i], factor[i] = c, to_i, factor_i
            held[k], value[k], factor[k] = a, to_k, factor_k
            share[i] = _share(factor_i, odd_i, flips)
            share[k] = _share(factor_k, odd_k, flips)
        for row in range(n):
            _record(
                steps - since[row],
                np.int64(row),
                held[row],
                share[row],
                weighted,
                half_precision,
                flips,
                x,
                first,
                second,
                pulled_s,
                pulled_half_s,
            )
