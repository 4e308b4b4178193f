"""The Bethe permanent: belief propagation for marginals, and a certified lower bound from them.

For every doubly stochastic P, log perm A >= sum_ij P_ij log(A_ij / P_ij) + (1 - P_ij) log(1 - P_ij)
(Gurvits 2011 / Schrijver 1998; docs/theory/permanents.md, 5).
"""

from __future__ import annotations

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.bounds import Bound, ScaledMatrix, Stage
from symdiag.permanents.doubly_stochastic import (
    energy_and_entropy,
    round_to_doubly_stochastic,
    rounding_slack,
    sinkhorn,
)
from symdiag.permanents.loops import bethe_sweeps
from symdiag.permanents.results import Ends


def beliefs(weights: Array, *, sweeps: int = 60, tolerance: float = 1e-6) -> Array:
    """Bethe marginals (n, n) of a scaled nonnegative matrix by belief propagation; rows and columns
    sum to about 1.

    Args:
        weights: (n, n), best Sinkhorn-scaled: then messages stay near 1.
        sweeps: most sweeps over both sides; past 200 they are damped.
        tolerance: relative change of messages at which to stop.
    """
    n = len(weights)
    if n == 1:
        return np.ones((1, 1))
    rows, scratch = np.ones((n, n)), np.empty((n, n))  # messages to columns and to rows
    bethe_sweeps(np.ascontiguousarray(weights), rows, scratch, sweeps, tolerance)
    odds = np.minimum(weights * np.minimum(rows, 1e150) * np.minimum(scratch, 1e150), 1e300)
    return np.asarray(odds / (1.0 + odds))


def bethe_functional(log_weights: Array, marginals: Array) -> Array:
    """sum P log(A / P) + (1 - P) log(1 - P), (B,) nats, of (B, n, n) log A and P.

    A lower bound on log perm A for doubly stochastic P, up to the rounding of its sums.
    """
    pairs = zip(log_weights, marginals, strict=True)
    return np.array([sum(energy_and_entropy(matrix, share)) for matrix, share in pairs])


def bethe_lower(log_weights: Array, matrix: Array) -> float:
    """The functional at one exactly rounded P (n, n), what rounding may have added taken off."""
    energy, entropy = energy_and_entropy(log_weights, matrix)
    return energy + entropy - rounding_slack(log_weights, energy)


def _evaluate(matrix: ScaledMatrix, stage: Stage) -> Ends:
    doubly = matrix.doubly_stochastic
    if stage == "refined":  # best at a fixed point of belief propagation
        found = beliefs(matrix.balanced.weights, tolerance=1e-4, sweeps=40) + 1e-300
        doubly = round_to_doubly_stochastic(sinkhorn(found, tolerance=1e-7).weights)
    return Ends(lower=bethe_lower(matrix.log_weights, doubly))


BOUND = Bound(
    "bethe",
    stages=("first", "refined"),
    when="everywhere but near separation, where it misses two-cycles; refined takes O(40 n²)",
    applies=lambda matrix: matrix.finite,  # rounding would put mass on zeros
    evaluate=_evaluate,
)
