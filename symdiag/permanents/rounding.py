"""Lower bounds that need an exactly doubly stochastic matrix, with the cost of rounding accounted for."""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.chunks import row_chunks


def round_to_doubly_stochastic(matrix: Array) -> Array:
    """Nearest-by-scaling doubly stochastic (n, n): shrink rows and columns above 1, add a rank-one remainder.

    Exact up to float rounding of the sums (Altschuler, Weed and Rigollet 2017, algorithm 2).
    """
    shrunk = matrix / np.maximum(matrix.sum(axis=1), 1.0)[:, None]
    shrunk /= np.maximum(shrunk.sum(axis=0), 1.0)
    row = np.maximum(1.0 - shrunk.sum(axis=1), 0.0)
    column = np.maximum(1.0 - shrunk.sum(axis=0), 0.0)
    total = float(row.sum())
    if total > 0.0:
        shrunk += np.outer(row, column / total)
    return np.asarray(shrunk)


def energy_and_entropy(log_weights: Array, matrix: Array) -> tuple[float, float, float]:
    """(sum P log(A / P), sum (1 - P) log(1 - P), rounding slack) of a rounded P; the first is -inf off the support.

    The slack covers that P is doubly stochastic to float rounding only (docs/theory/permanents.md, 5).
    """
    n = len(matrix)
    energy, entropy = 0.0, 0.0
    for rows in row_chunks(matrix):
        chunk = matrix[rows]
        used = chunk > 0.0
        ratio = np.where(used, log_weights[rows] - np.log(np.where(used, chunk, 1.0)), 0.0)
        energy += float(np.sum(chunk * ratio))
        hole = np.clip(1.0 - chunk, 1e-300, None)
        entropy += float(np.sum(hole * np.log(hole)))
    # a completion in exact arithmetic may also put 1e-16 where float put nothing: log A there counts too
    steepest = 100.0 + float(np.abs(log_weights).max(initial=0.0))
    return energy, entropy, 4.0 * n * n * 2.3e-16 * steepest + 1e-14 * abs(energy)


def van_der_waerden_lower(log_weights: Array, matrix: Array) -> float:
    """log perm A >= log(n!/n^n) + sum P log(A / P) for doubly stochastic P (n, n); best at the Sinkhorn limit."""
    n = len(matrix)
    energy, _, slack = energy_and_entropy(log_weights, matrix)
    return energy + math.lgamma(n + 1) - n * math.log(n) - slack


def bethe_lower(log_weights: Array, matrix: Array) -> float:
    """log perm A >= sum P log(A / P) + (1 - P) log(1 - P) for doubly stochastic P (n, n); best at a BP fixed point."""
    energy, entropy, slack = energy_and_entropy(log_weights, matrix)
    return energy + entropy - slack
