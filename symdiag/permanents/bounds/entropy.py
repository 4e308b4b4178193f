"""Entropy upper bound with a dual certificate (Bregman-Minc by Radhakrishnan's argument, for
weighted matrices).

For any row-stochastic Q,

    C_ij = log(A_ij / Q_ij) + E_s E_b log(Q_ij + sum_{k != j} b_k Q_ik),   b_k ~ Bernoulli(s), s ~
    U(0, 1),

satisfies log perm A <= max over permutations of sum_i C_{i, pi(i)} (docs/theory/permanents.md, 6).
The expectation is only ever bounded from above: the few largest entries of a row stay random, the
others are replaced by their mean (Jensen), the integral over s by the midpoint rule of a concave
integrand, and entries outside the few by tangents of a concave function.
"""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.bounds import Bound, ScaledMatrix, Stage
from symdiag.permanents.doubly_stochastic import sinkhorn
from symdiag.permanents.results import Ends
from symdiag.permanents.scaling import by_rows, row_chunks

_RANDOM = 5  # entries of each row kept random
_NODES = 24
_WIDE = 2048  # rows beyond which one step of the closed form has to do


def entropy_upper(log_scaled: Array, start: Array, *, sweeps: int = 3, refine: int = 3) -> float:
    """Certified upper bound on log perm, nats.

    Args:
        log_scaled: (n, n) log weights, at most about 0 on the support of the best permutation.
        start: (n, n) nearly doubly stochastic first guess for Q.
        sweeps: fixed-point steps of Q with the closed-form (fully Jensen) functional.
        refine: further steps in which the large entries of each row stay random (tighter, dearer).
    """
    functional = closed_form(_normalise(start.copy()))
    best = math.inf
    for step in range(sweeps + refine):
        functional += log_scaled
        choice = _normalise(
            sinkhorn(np.exp(functional, out=functional), tolerance=1e-4, sweeps=40).weights
        )
        functional = closed_form(choice) if step < sweeps else arrival_bound(choice)
        if step >= sweeps - 1:
            best = min(best, _certificate(log_scaled, choice, functional))
    return best


def _normalise(matrix: Array) -> Array:
    """Rows made to sum to 1, in place."""
    np.maximum(matrix, 1e-300, out=matrix)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix


def closed_form(choice: Array) -> Array:
    """E_s log(q + s (1 - q)) = -1 - q log q / (1 - q), elementwise: Jensen applied to all others."""
    return by_rows(_closed_form, choice)


def _closed_form(choice: Array) -> Array:
    rest = 1.0 - choice
    near = rest < 1e-5
    ratio = np.where(
        near, 1.0 + rest / 2 + rest * rest, -np.log(choice) / np.where(near, 1.0, rest)
    )
    return np.asarray(choice * ratio - 1.0)


def arrival_bound(choice: Array) -> Array:
    """Upper bound on E_s E_b log(Q_ij + sum_{k != j} b_k Q_ik) for row-stochastic Q (n, n)."""
    return by_rows(_arrival_bound, choice)


def _arrival_bound(choice: Array) -> Array:
    few = min(_RANDOM, choice.shape[1] - 1)
    large = np.argpartition(-choice, few - 1, axis=1)[:, :few]
    top = np.take_along_axis(choice, large, axis=1)
    rest = (
        np.clip(1.0 - top.sum(axis=1), 0.0, 1.0) + 1e-15
    )  # rounding must not lose mass: entries may be far smaller
    result = _tangents(choice, top, rest)
    for m in range(few):
        others = np.delete(top, m, axis=1)
        value, _ = _expectation(top[:, m], others, rest)
        np.put_along_axis(result, large[:, m : m + 1], value[:, None], axis=1)
    # the closed form is an upper bound too, and the better one where tangents are far from their
    # point
    return np.minimum(result, _closed_form(choice) + 1e-12)


def _tangents(choice: Array, top: Array, rest: Array) -> Array:
    """Bound for entries outside the few: f(q) is concave in the own entry q, so any tangent lies
    above it.
    """
    smallest = top.min(axis=1)
    result = np.full(choice.shape, np.inf)
    for share in (1e-3, 0.03, 0.2, 0.7):
        point = np.maximum(smallest * share, 1e-290)
        value, slope = _expectation(point, top, np.maximum(rest - point, 0.0), at_own=True)
        np.minimum(result, value[:, None] + slope[:, None] * (choice - point[:, None]), out=result)
    return result


def _expectation(
    own: Array, random: Array, rest: Array, *, at_own: bool = False
) -> tuple[Array, Array]:
    """E_s E_b log(own + sum_k b_k random_k + s rest), and its slope in ``own`` with own + rest held
    fixed; (n,) each.

    ``random`` is (n, m): 2^m outcomes. The midpoint rule overestimates because the integrand is
    concave in s.
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
    """Value of feasible duals of C, with slack for rounding: any u, v with C_ij <= u_i + v_j bound
    the assignment.

    At a fixed point of Q the scores are rank one, so means over the support are nearly optimal
    duals to start from.
    """
    n = len(log_scaled)
    scores = log_scaled + functional
    for rows in row_chunks(scores):
        scores[rows] -= np.log(choice[rows])
    column, share = np.zeros(n), choice.sum(axis=0)
    for _ in range(3):
        previous, column = column, np.zeros(n)
        for rows in row_chunks(scores):
            safe = np.where(np.isfinite(scores[rows]), scores[rows], 0.0)
            row = ((safe - previous) * choice[rows]).sum(axis=1)
            column += ((safe - row[:, None]) * choice[rows]).sum(axis=0)
        column /= share
    for _ in range(2):
        previous, column, total = column, np.full(n, -np.inf), []
        for rows in row_chunks(scores):
            row = (scores[rows] - previous).max(axis=1)
            total.extend(row.tolist())
            np.maximum(column, (scores[rows] - row[:, None]).max(axis=0), out=column)
    value = math.fsum(total) + math.fsum(column.tolist())
    return float(value + 1e-14 * n * (1.0 + max(map(abs, total)) + float(np.abs(column).max())))


def _evaluate(matrix: ScaledMatrix, stage: Stage) -> Ends:
    # the first step's optimum of Q is good enough to refine from
    sweeps = 1 if stage == "refined" or matrix.size > _WIDE else 3
    refine = 3 if stage == "refined" else 0
    guess = matrix.balanced.weights
    return Ends(upper=entropy_upper(matrix.log_weights, guess, sweeps=sweeps, refine=refine))


BOUND = Bound(
    "entropy",
    stages=("first", "refined"),
    when="near-identical and transition: the only upper bound there; O(n²) per step, some 30 nats "
    "loose at n = 256 in the transition",
    evaluate=_evaluate,
)
