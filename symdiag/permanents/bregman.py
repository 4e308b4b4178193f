"""Entropy upper bound with a dual certificate (Bregman-Minc by Radhakrishnan's argument, for weighted matrices).

For any row-stochastic Q,

    C_ij = log(A_ij / Q_ij) + E_s E_b log(Q_ij + sum_{k != j} b_k Q_ik),   b_k ~ Bernoulli(s), s ~ U(0, 1),

satisfies log perm A <= max over permutations of sum_i C_{i, pi(i)} (docs/theory/permanents.md, 6). The expectation is
only ever bounded from above: the few largest entries of a row stay random, the others are replaced by their mean
(Jensen), the integral over s by the midpoint rule of a concave integrand, and entries outside the few by tangents of a
concave function.
"""

from __future__ import annotations

import math

import numpy as np

from symdiag.permanents.sinkhorn import sinkhorn
from symdiag.permanents.types import Array

_RANDOM = 5  # entries of each row kept random
_NODES = 24


def bregman_upper(log_scaled: Array, start: Array, *, sweeps: int = 3, refine: int = 3) -> float:
    """Certified upper bound on log perm, nats.

    Args:
        log_scaled: (n, n) log weights, at most about 0 on the support of the best permutation.
        start: (n, n) nearly doubly stochastic first guess for Q.
        sweeps: fixed-point steps of Q with the closed-form (fully Jensen) functional.
        refine: further steps in which the large entries of each row stay random (tighter, dearer).
    """
    weights = np.exp(log_scaled)
    functional = closed_form(_normalise(start))
    best = math.inf
    for step in range(sweeps + refine):
        balanced = sinkhorn(weights * np.exp(functional), tolerance=1e-4, sweeps=40).weights
        choice = _normalise(balanced)
        functional = closed_form(choice) if step < sweeps else arrival_bound(choice)
        if step >= sweeps - 1:
            best = min(best, _certificate(log_scaled, choice, functional))
    return best


def _normalise(matrix: Array) -> Array:
    positive = np.maximum(matrix, 1e-300)
    return np.asarray(positive / positive.sum(axis=1, keepdims=True))


def closed_form(choice: Array) -> Array:
    """E_s log(q + s (1 - q)) = -1 - q log q / (1 - q), elementwise: Jensen applied to all others."""
    rest = 1.0 - choice
    near = rest < 1e-5
    ratio = np.where(near, 1.0 + rest / 2 + rest * rest, -np.log(choice) / np.where(near, 1.0, rest))
    return np.asarray(choice * ratio - 1.0)


def arrival_bound(choice: Array) -> Array:
    """Upper bound on E_s E_b log(Q_ij + sum_{k != j} b_k Q_ik) for row-stochastic Q (n, n)."""
    n = len(choice)
    few = min(_RANDOM, n - 1)
    large = np.argpartition(-choice, few - 1, axis=1)[:, :few]
    top = np.take_along_axis(choice, large, axis=1)
    rest = np.clip(1.0 - top.sum(axis=1), 0.0, 1.0)
    result = _tangents(choice, top, rest)
    for m in range(few):
        others = np.delete(top, m, axis=1)
        value, _ = _expectation(top[:, m], others, rest)
        np.put_along_axis(result, large[:, m : m + 1], value[:, None], axis=1)
    # the closed form is an upper bound too, and the better one where tangents are far from their point
    return np.minimum(result, closed_form(choice) + 1e-12)


def _tangents(choice: Array, top: Array, rest: Array) -> Array:
    """Bound for entries outside the few: f(q) is concave in the own entry q, so any tangent lies above it."""
    smallest = top.min(axis=1)
    result = np.full(choice.shape, np.inf)
    for share in (1e-3, 0.03, 0.2, 0.7):
        point = np.maximum(smallest * share, 1e-290)
        value, slope = _expectation(point, top, np.maximum(rest - point, 0.0), at_own=True)
        np.minimum(result, value[:, None] + slope[:, None] * (choice - point[:, None]), out=result)
    return result


def _expectation(own: Array, random: Array, rest: Array, *, at_own: bool = False) -> tuple[Array, Array]:
    """E_s E_b log(own + sum_k b_k random_k + s rest), and its slope in ``own`` with own + rest held fixed; (n,) each.

    ``random`` is (n, m): 2^m outcomes. The midpoint rule overestimates because the integrand is concave in s.
    """
    edges = np.linspace(0.0, 1.0, _NODES + 1) ** 2
    nodes, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    m = random.shape[1]
    bits = (np.arange(1 << m)[:, None] >> np.arange(m)) & 1
    size = bits.sum(axis=1)
    chance = widths[:, None] * nodes[:, None] ** size * (1.0 - nodes[:, None]) ** (m - size)
    subset = random @ bits.T
    mean = own[:, None] + rest[:, None] * nodes
    inside = mean[:, :, None] + subset[:, None, :]
    value = np.einsum("nsb,sb->n", np.log(inside), chance)
    if not at_own:
        return value, value
    slope = np.einsum("nsb,sb->n", (1.0 - nodes)[None, :, None] / inside, chance)
    return value, slope


def _certificate(log_scaled: Array, choice: Array, functional: Array) -> float:
    """Value of feasible duals of C, with slack for rounding: any u, v with C_ij <= u_i + v_j bound the assignment."""
    n = len(log_scaled)
    scores = log_scaled - np.log(choice) + functional
    # at a fixed point of Q the scores are rank one, so means over the support are nearly optimal duals
    share = choice / choice.sum(axis=0)
    column = np.zeros(n)
    safe = np.where(np.isfinite(scores), scores, 0.0)
    for _ in range(3):
        row = ((safe - column) * choice).sum(axis=1)
        column = ((safe - row[:, None]) * share).sum(axis=0)
    for _ in range(2):
        row = (scores - column).max(axis=1)
        column = (scores - row[:, None]).max(axis=0)
    total = math.fsum(row.tolist()) + math.fsum(column.tolist())
    return total + 1e-14 * n * (1.0 + float(np.abs(row).max()) + float(np.abs(column).max()))
