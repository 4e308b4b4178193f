"""Doubly stochastic matrices: Sinkhorn scaling, exact rounding, and the functionals bounds are made
of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.scaling import row_chunks


@dataclass(frozen=True)
class DoublyStochastic:
    """``weights = diag(row) @ matrix @ diag(column)`` with unit column sums and row sums within
    ``error`` of 1.

    ``log_factor = -sum(log row) - sum(log column)``: log perm(matrix) = log perm(weights) +
    log_factor.
    """

    weights: Array
    log_factor: float
    error: float


def sinkhorn(matrix: Array, *, tolerance: float = 1e-4, sweeps: int = 100) -> DoublyStochastic:
    """Scale an (n, n) nonnegative matrix of positive diagonal; stops at ``tolerance`` or after
    ``sweeps``.

    Any result is usable as a proposal; what it leaves undone is in ``error``.
    """
    row = np.ones(len(matrix))
    column = 1.0 / matrix.sum(axis=0)
    error = np.inf
    for _ in range(sweeps):
        sums = matrix @ column
        # columns were scaled last, so their sums are 1: what is left undone is in the rows
        error = float(np.abs(sums * row - 1.0).max(initial=0.0))
        if error <= tolerance:
            break
        new_row = 1.0 / sums
        new_column = 1.0 / (new_row @ matrix)
        if not (np.isfinite(new_row).all() and np.isfinite(new_column).all()):
            break
        row, column = new_row, new_column
    weights = matrix * row[:, None]
    weights *= column
    return DoublyStochastic(weights, -float(np.log(row).sum() + np.log(column).sum()), error)


def round_to_doubly_stochastic(matrix: Array) -> Array:
    """Nearest-by-scaling doubly stochastic (n, n): shrink rows and columns above 1, add a rank-one
    remainder.

    Exact up to float rounding of the sums (Altschuler, Weed and Rigollet 2017, algorithm 2).
    """
    shrunk = matrix / np.maximum(matrix.sum(axis=1), 1.0)[:, None]
    shrunk /= np.maximum(shrunk.sum(axis=0), 1.0)
    row = np.maximum(1.0 - shrunk.sum(axis=1), 0.0)
    column = np.maximum(1.0 - shrunk.sum(axis=0), 0.0)
    total = float(row.sum())
    # rows and columns lack the same total, n minus the sum of all entries
    if total > 0.0:
        shrunk += np.outer(row, column / total)
    return np.asarray(shrunk)


def energy_and_entropy(log_weights: Array, matrix: Array) -> tuple[float, float]:
    """(sum P log(A / P), sum (1 - P) log(1 - P)) of an (n, n) P; the first is -inf off the support."""
    energy, entropy = 0.0, 0.0
    for rows in row_chunks(matrix):
        chunk = matrix[rows]
        used = chunk > 0.0
        ratio = np.where(used, log_weights[rows] - np.log(np.where(used, chunk, 1.0)), 0.0)
        energy += float(np.sum(chunk * ratio))
        # x log x tends to 0 at 0, where float would give nan
        hole = np.clip(1.0 - chunk, 1e-300, None)
        entropy += float(np.sum(hole * np.log(hole)))
    return energy, entropy


def rounding_slack(log_weights: Array, energy: float) -> float:
    """What ``energy_and_entropy`` may be off by: P is doubly stochastic to float rounding only.

    Valid by docs/theory/permanents.md, 5.
    """
    n = len(log_weights)
    # a completion in exact arithmetic may also put 1e-16 where float put nothing: log A there
    # counts too
    steepest = 100.0 + float(np.abs(log_weights).max(initial=0.0))
    return 4.0 * n * n * 2.3e-16 * steepest + 1e-14 * abs(energy)
