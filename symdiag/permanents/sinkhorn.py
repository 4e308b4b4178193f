"""Sinkhorn scaling of dual-scaled matrices to (nearly) doubly stochastic ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array


@dataclass(frozen=True)
class DoublyStochastic:
    """``weights = diag(row) @ matrix @ diag(column)`` with unit column sums and row sums within ``error`` of 1.

    ``log_factor = -sum(log row) - sum(log column)``: log perm(matrix) = log perm(weights) + log_factor.
    """

    weights: Array
    log_factor: float
    error: float


def sinkhorn(matrix: Array, *, tolerance: float = 1e-4, sweeps: int = 100) -> DoublyStochastic:
    """Scale an (n, n) nonnegative matrix of positive diagonal; stops at ``tolerance`` or after ``sweeps``.

    Any result is usable as a proposal; what it leaves undone is in ``error``.
    """
    row = np.ones(len(matrix))
    column = 1.0 / matrix.sum(axis=0)
    error = np.inf
    for _ in range(sweeps):
        sums = matrix @ column
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
