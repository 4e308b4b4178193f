"""The Metropolis chain over elements of a group that acts on two axes of one tensor.

Moving unit i of a recurrent or residual layer moves rows *and* columns, so that what it costs depends
on where the others are (a quadratic assignment): no matrix holds it, and a proposal looks at the rows
and columns of the two units that it exchanges. Compiled by numba at its first call, cached on disk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array, BoolArray, IntArray
from symdiag.permanents.loops import exact_jit

_SCRAMBLE = np.uint64(0x2545F4914F6CDD1D)  # xorshift64*
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_MANTISSA = 2.0**-53


@exact_jit
def _next(state: np.uint64) -> np.uint64:
    """One step of xorshift64 (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@exact_jit
def _at(place: np.int64, value: float, weighted: Array, half: Array, mean: Array) -> float:
    """log density of a value at a place up to a constant; deterministic places take their own only."""
    if half[place] == 0.0:
        return 0.0 if value == mean[place] else -np.inf
    density: float = weighted[place] * value - half[place] * value * value
    return density


@exact_jit
def _touched(
    i: np.int64,
    k: np.int64,
    unit: IntArray,
    sign: Array,
    single: IntArray,
    double: IntArray,
    flips: BoolArray,
    flips_rows: BoolArray,
    flips_columns: BoolArray,
    weighted: Array,
    half: Array,
    mean: Array,
    x: Array,
) -> float:
    """log density of all entries in rows or columns i and k, as the units stand."""
    total = 0.0
    n = unit.shape[0]
    for which in range(1 if i == k else 2):
        a = i if which == 0 else k
        u = unit[a]
        for d in range(single.shape[1]):
            value = x[single[u, d]] * (sign[a] if flips[d] else 1.0)
            total += _at(single[a, d], value, weighted, half, mean)
        for d in range(double.shape[2]):
            for b in range(n):
                value = x[double[u, unit[b], d]]
                if flips_rows[d]:
                    value *= sign[a]
                if flips_columns[d]:
                    value *= sign[b]
                total += _at(double[a, b, d], value, weighted, half, mean)
                if b in (i, k):
                    continue  # its own row has the entry already
                value = x[double[unit[b], u, d]]
                if flips_rows[d]:
                    value *= sign[b]
                if flips_columns[d]:
                    value *= sign[a]
                total += _at(double[b, a, d], value, weighted, half, mean)
    return total


@exact_jit
def _record(
    place: np.int64,
    source: np.int64,
    sign: float,
    weighted: Array,
    half: Array,
    x: Array,
    first: Array,
    second: Array,
    pulled: Array,
    pulled_half: Array,
) -> None:
    first[place] += sign * x[source]
    second[place] += x[source] * x[source]
    pulled[source] += sign * weighted[place]
    pulled_half[source] += half[place]


@exact_jit
def _look(
    unit: IntArray,
    sign: Array,
    single: IntArray,
    double: IntArray,
    flips: BoolArray,
    flips_rows: BoolArray,
    flips_columns: BoolArray,
    weighted: Array,
    half: Array,
    x: Array,
    first: Array,
    second: Array,
    pulled: Array,
    pulled_half: Array,
) -> None:
    """Add the moments of what every place holds now."""
    n = unit.shape[0]
    for a in range(n):
        for d in range(single.shape[1]):
            place, source = single[a, d], single[unit[a], d]
            own = sign[a] if flips[d] else 1.0
            _record(
                place, source, own, weighted, half, x, first, second, pulled, pulled_half
            )  # fmt: skip
        for b in range(n):
            for d in range(double.shape[2]):
                place, source = double[a, b, d], double[unit[a], unit[b], d]
                own = sign[a] if flips_rows[d] else 1.0
                if flips_columns[d]:
                    own *= sign[b]
                _record(
                    place, source, own, weighted, half, x, first, second, pulled, pulled_half
                )  # fmt: skip


@exact_jit
def _proposed(
    bits: np.uint64, n: np.int64, signed: bool
) -> tuple[np.int64, np.int64, float, float]:
    """Two places to exchange and the factors on their signs; a place alone, to flip, half the time
    where there are signs.

    Exchanging back has the same odds, so that a gain in density is all that decides.
    """
    i = np.int64(((bits >> _HALF) * np.uint64(n)) >> _HALF)
    if n == 1 or (signed and bits & np.uint64(1)):
        return i, i, -1.0 if signed else 1.0, 1.0
    k = np.int64(((bits & _LOW) * np.uint64(n - 1)) >> _HALF)
    k = k + 1 if k >= i else k
    if not signed:
        return i, k, 1.0, 1.0
    # the lowest bits: they decide nothing about the places
    return i, k, 1.0 if bits & np.uint64(2) else -1.0, 1.0 if bits & np.uint64(4) else -1.0


@exact_jit
def element_loop(
    single: IntArray,
    double: IntArray,
    flips: BoolArray,
    flips_rows: BoolArray,
    flips_columns: BoolArray,
    signed: bool,
    weighted: Array,
    half: Array,
    mean: Array,
    draws: Array,
    seeds: NDArray[np.uint64],
    steps: int,
    burn: int,
    keys: NDArray[np.uint64],
    first: Array,
    second: Array,
    pulled: Array,
    pulled_half: Array,
    visited: NDArray[np.uint64],
    ratios: Array,
) -> int:
    """Metropolis moves on (permutation, signs) for each draw, started at the identity.

    See ``element_term.ElementTerm``, whose arrays these are. ``keys`` (n, n, 2) hash a state; every
    state proposed is written down with its log q(gω)/q(ω) in ``visited`` and ``ratios`` (S, steps),
    or none where these are empty. Returns how often moments were added per draw.
    """
    # one loop over 50 lines: the state of the chain is a dozen locals that parts would hand around
    n = np.int64(single.shape[0])
    unit = np.empty(n, dtype=np.int64)
    sign = np.empty(n)
    count = 0
    for s in range(draws.shape[0]):
        x = draws[s]
        state = seeds[s]
        ratio = 0.0
        count = 0
        for a in range(n):
            unit[a] = a
            sign[a] = 1.0
        for t in range(steps):
            state = _next(state)
            i, k, turn_i, turn_k = _proposed(state * _SCRAMBLE, n, signed)
            old = _touched(
                i, k, unit, sign, single, double, flips, flips_rows, flips_columns,
                weighted, half, mean, x,
            )  # fmt: skip
            u, v, p, r = unit[i], unit[k], sign[i], sign[k]
            # with i == k the second line leaves what the first has done
            unit[i], sign[i] = v, r * turn_i
            if k != i:
                unit[k], sign[k] = u, p * turn_k
            gain = (
                _touched(
                    i, k, unit, sign, single, double, flips, flips_rows, flips_columns,
                    weighted, half, mean, x,
                )
                - old
            )  # fmt: skip
            if ratios.shape[0] > 0:
                code = np.uint64(0)
                for a in range(n):
                    code ^= keys[a, unit[a], 1 if sign[a] < 0.0 else 0]
                visited[s, t] = code
                ratios[s, t] = ratio + gain
            keep = gain >= 0.0
            if not keep:
                state = _next(state)
                uniform = np.float64((state * _SCRAMBLE) >> np.uint64(11)) * _MANTISSA
                keep = gain > -37.0 and uniform < np.exp(gain)
            if keep:
                ratio += gain
            else:
                unit[i], sign[i] = u, p
                unit[k], sign[k] = v, r
            # a state is looked at once in n steps: looking costs as much as all weights
            if t >= burn and (t - burn) % n == 0:
                count += 1
                _look(
                    unit, sign, single, double, flips, flips_rows, flips_columns,
                    weighted, half, x, first, second, pulled[s], pulled_half[s],
                )  # fmt: skip
    return count
