"""Matrices of every regime, and oracles that share no code with the library."""

from fractions import Fraction
from itertools import permutations

import mpmath
import numpy as np

REGIMES = (
    "identical",
    "near-identical",
    "transition",
    "separated",
    "half-pruned",
    "heterogeneous",
    "holes",
    "range-1e5",
    "no-diagonal",
    "few-types",
    "signed",
    "block-diagonal",
)


def gaussian(n, d, spread, rng, *, pruned=0, jitter=0.0, log_std_sd=0.0):
    """L_ij = log q_i(w_j) - log q_j(w_j) of n diagonal Gaussians in d dimensions, one draw each."""
    mean = spread * rng.normal(size=(n, d))
    mean[:pruned] = jitter * rng.normal(size=(pruned, d))
    std = np.exp(log_std_sd * rng.normal(size=(n, d)))
    draw = mean + std * rng.normal(size=(n, d))
    if log_std_sd == 0.0:
        square = (draw**2).sum(1)[None] - 2 * mean @ draw.T + (mean**2).sum(1)[:, None]
        log_density = -square / 2
    else:
        log_density = (
            -(((draw[None] - mean[:, None]) / std[:, None]) ** 2) / 2 - np.log(std)[:, None]
        ).sum(-1)
    return log_density - np.diagonal(log_density)[None]


def regime(name, n, rng):
    """One (n, n) log-weight matrix of the named regime."""
    d = int(rng.choice([2, 5, 50]))
    unit = d**-0.25
    if name == "identical":
        return rng.normal(size=(n, 1)) + rng.normal(size=(1, n))
    if name == "near-identical":
        return gaussian(n, d, 0.1 * unit, rng)
    if name == "transition":
        return gaussian(n, d, rng.uniform(0.5, 1.5) * unit, rng)
    if name == "separated":
        return gaussian(n, d, rng.uniform(2, 4) * unit, rng)
    if name == "half-pruned":
        return gaussian(n, d, 3 * unit, rng, pruned=n // 2, jitter=0.02)
    if name == "heterogeneous":
        return gaussian(n, d, unit, rng, log_std_sd=rng.uniform(0.3, 2.0))
    if name == "holes":
        matrix = np.where(rng.random((n, n)) < 0.4, -np.inf, gaussian(n, d, unit, rng))
        np.fill_diagonal(matrix, 0.0)
        return matrix
    if name == "range-1e5":
        return rng.uniform(-1e5, 0.0, size=(n, n))
    if (
        name == "no-diagonal"
    ):  # deterministic weights that differ: the identity itself is impossible
        matrix = rng.normal(size=(n, n))
        np.fill_diagonal(matrix, -np.inf)
        return matrix
    if name == "few-types":
        return 2 * rng.normal(size=(2, n))[rng.integers(0, 2, n)] + rng.normal(size=(n, 1))
    if name == "signed":  # a sum over both signs in every entry: the diagonal is not 0
        kept, flipped = (gaussian(n, d, 0.7 * unit, rng) for _ in range(2))
        return np.logaddexp(kept, flipped - rng.exponential(size=(n, n)))
    if name == "block-diagonal":
        matrix = np.full((n, n), -np.inf if rng.random() < 0.5 else -45.0)
        order, cut = rng.permutation(n), int(rng.integers(1, n)) if n > 1 else 1
        for part in (order[:cut], order[cut:]):
            matrix[np.ix_(part, part)] = rng.normal(size=(len(part), len(part)))
        return matrix
    raise ValueError(name)


def brute_force(matrix, digits=40):
    """log perm by mpmath over every permutation; -inf when zero."""
    n = len(matrix)
    with mpmath.workdps(digits):
        weights = [
            [mpmath.mpf(0) if np.isneginf(x) else mpmath.exp(mpmath.mpf(float(x))) for x in row]
            for row in matrix
        ]
        total = mpmath.mpf(0)
        for order in permutations(range(n)):
            term = mpmath.mpf(1)
            for i, j in enumerate(order):
                term *= weights[i][j]
            total += term
        return float(mpmath.log(total)) if total > 0 else -np.inf


def brute_marginals(matrix, digits=40):
    """P_ij by mpmath over every permutation."""
    n = len(matrix)
    with mpmath.workdps(digits):
        logs = [
            [mpmath.ninf if np.isneginf(x) else mpmath.mpf(float(x)) for x in row] for row in matrix
        ]
        terms = [
            (order, sum(logs[i][j] for i, j in enumerate(order)))
            for order in permutations(range(n))
        ]
        top = max(value for _, value in terms)
        mass = [[mpmath.mpf(0)] * n for _ in range(n)]
        total = mpmath.mpf(0)
        for order, value in terms:
            weight = mpmath.exp(value - top)
            total += weight
            for i, j in enumerate(order):
                mass[i][j] += weight
        return np.array([[float(mass[i][j] / total) for j in range(n)] for i in range(n)])


def ryser(matrix):
    """Permanent of an integer matrix in exact rational arithmetic by Ryser's formula, Gray-code
    order.
    """
    n = len(matrix)
    rows = [[Fraction(int(x)) for x in row] for row in matrix]
    sums = [Fraction(0)] * n
    total, previous = Fraction(0), 0
    for k in range(1, 1 << n):
        gray = k ^ (k >> 1)
        bit = (gray ^ previous).bit_length() - 1
        sign = 1 if gray >> bit & 1 else -1
        product = Fraction(1)
        for i in range(n):
            sums[i] += sign * rows[i][bit]
            product *= sums[i]
        total += product if (n - gray.bit_count()) % 2 == 0 else -product
        previous = gray
    return total
