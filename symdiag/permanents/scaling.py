"""Scaling by the duals of the best assignment: afterwards the best permutation weighs 1 and no
entry exceeds 1.

So ``1 <= perm <= n!``: nothing can overflow, and underflow is below 1e-270 relative
(docs/theory/permanents.md, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from symdiag.arrays import Array, IntArray

# where values are exact, differences must be too; larger matrices are estimated anyway
_COMPENSATED_BELOW = 64
_CELLS = 1 << 16  # of temporaries in elementwise work: they stay in the cache, memory stays flat


@dataclass(frozen=True)
class Scaled:
    """``log_weights[i, columns[j]] = log_scaled[i, j] + row and column terms`` that add up to
    ``offset``.

    Attributes:
        log_scaled: (n, n), <= 0 up to rounding; the diagonal is exactly 0 and is the best
            permutation.
        offset: log weight of the best permutation, nats; -inf when every permutation has weight 0.
        columns: (n,) original column now at position j.
    """

    log_scaled: Array
    offset: float
    columns: IntArray


def best_assignment(log_weights: Array) -> IntArray | None:
    """Columns (n,) of the heaviest permutation of an (n, n) log-weight matrix; None when all have
    weight 0.
    """
    n = len(log_weights)
    diagonal = np.diagonal(log_weights)
    # every row is heaviest on the diagonal: no permutation can weigh more, so no solver
    if n and np.isfinite(diagonal).all() and bool((log_weights <= diagonal[:, None]).all()):
        return np.arange(n)
    try:
        _, columns = linear_sum_assignment(log_weights, maximize=True)
    except ValueError:
        return None
    columns = columns.astype(np.int64)
    return columns if np.isfinite(log_weights[np.arange(n), columns]).all() else None


def dual_scale(log_weights: Array) -> Scaled:
    """Scale one (n, n) matrix of log weights (-inf allowed) by assignment duals."""
    n = len(log_weights)
    columns = best_assignment(log_weights)
    if columns is None:
        return Scaled(np.full((n, n), -np.inf), -math.inf, np.arange(n))
    permuted = np.ascontiguousarray(log_weights[:, columns])
    best = np.diagonal(permuted).copy()
    potential = _potentials(permuted - best[:, None])
    if n <= _COMPENSATED_BELOW:
        scaled = _compensated(permuted, best, potential)
    else:
        scaled = permuted - best[:, None]
        scaled += potential[:, None]
        scaled -= potential[None, :]
    np.fill_diagonal(scaled, 0.0)
    return Scaled(scaled, math.fsum(best.tolist()), columns)


def centre(log_weights: Array, *, spread: float = 10.0) -> Scaled | None:
    """Scale by row and column means where entries differ little: no assignment needed, nothing can
    overflow.

    None when entries are -inf or still span more than ``spread`` nats. The diagonal is then not 0.
    """
    if not np.isfinite(log_weights).all():
        return None
    row = log_weights.mean(axis=1)
    scaled = log_weights - row[:, None]
    column = scaled.mean(axis=0)
    scaled -= column
    top = float(scaled.max(initial=0.0))
    if top - float(scaled.min(initial=0.0)) > spread:
        return None
    scaled -= top
    offset = math.fsum(row.tolist()) + math.fsum(column.tolist()) + top * len(row)
    return Scaled(scaled, offset, np.arange(len(row)))


def _potentials(gain: Array) -> Array:
    """v with gain_ij <= v_j - v_i, midway between the extreme solutions; ``gain`` (n, n) has no
    positive cycle.
    """
    forward = _longest(gain)
    backward = -_longest(np.ascontiguousarray(gain.T))
    return (forward + backward) / 2


def _longest(gain: Array) -> Array:
    # Bellman-Ford; without positive cycles it ends within n rounds, usually in a handful
    potential = np.zeros(len(gain))
    for _ in range(len(gain)):
        new = potential
        for rows in row_chunks(gain):
            new = np.maximum(new, (gain[rows] + potential[rows, None]).max(axis=0))
        if bool((new - potential <= 1e-13 * (1.0 + np.abs(new))).all()):
            break
        potential = new
    return potential


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _compensated(permuted: Array, best: Array, potential: Array) -> Array:
    """permuted - best_i + potential_i - potential_j with the rounding errors added back (Knuth's
    TwoSum).
    """
    finite = np.isfinite(permuted)
    safe = np.where(finite, permuted, 0.0)
    first, e1 = _two_sum(safe, np.broadcast_to(-best[:, None], safe.shape))
    shift, e2 = _two_sum(
        np.broadcast_to(potential[:, None], safe.shape), np.broadcast_to(-potential, safe.shape)
    )
    second, e3 = _two_sum(first, shift)
    return np.where(finite, second + (e1 + e2 + e3), -np.inf)


def row_chunks(matrix: Array) -> Iterator[slice]:
    """Slices over the rows of a matrix, about 65 000 cells each."""
    rows, columns = matrix.shape
    step = max(1, _CELLS // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def by_rows(function: Callable[[Array], Array], matrix: Array) -> Array:
    """``function`` applied to chunks of rows and put together again; it must work row by row."""
    result = np.empty_like(matrix)
    for rows in row_chunks(matrix):
        result[rows] = function(matrix[rows])
    return result
