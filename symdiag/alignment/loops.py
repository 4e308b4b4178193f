"""The inner loop of the dual ascent, compiled by numba; imported only when first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    return cast("F", numba.njit(cache=True, nogil=True)(function))


@_compiled
def assignment_duals(costs: Array) -> tuple[Array, Array]:
    """Optimal dual variables of a batch of assignment problems, by shortest augmenting paths (Jonker & Volgenant 1987).

    Args:
        costs: (B, n, n).

    Returns:
        u, v of shape (B, n): ``costs[b, i, j] - u[b, i] - v[b, j] >= 0`` up to rounding, and Σ u + Σ v is the
        value of the best assignment.
    """
    batch, n, _ = costs.shape
    u, v = np.zeros((batch, n)), np.zeros((batch, n))
    for b in range(batch):
        row_of = np.full(n, -1)
        column_of = np.full(n, -1)
        for start in range(n):
            _add_row(costs[b], u[b], v[b], row_of, column_of, start)
    return u, v


@_compiled
def _add_row(
    costs: Array,
    u: Array,
    v: Array,
    row_of: NDArray[np.intp],
    column_of: NDArray[np.intp],
    start: int,
) -> None:
    """Bring row ``start`` into the assignment along the shortest augmenting path; duals stay feasible."""
    n = len(costs)
    distance = np.full(n, np.inf)
    came_from = np.zeros(n, dtype=np.int64)
    done = np.zeros(n, dtype=np.bool_)
    row, reached = start, 0.0
    while True:
        column = _relax(costs[row], reached - u[row], v, done, distance, came_from, row)
        reached = distance[column]
        if row_of[column] < 0:
            break
        done[column] = True
        row = row_of[column]
    for j in np.flatnonzero(done):
        u[row_of[j]] += reached - distance[j]
        v[j] -= reached - distance[j]
    u[start] += reached
    row = -1
    while row != start:  # flip the path back to its start
        row = came_from[column]
        row_of[column] = row
        column, column_of[row] = column_of[row], column


@_compiled
def _relax(
    costs: Array,
    offset: float,
    v: Array,
    done: NDArray[np.bool_],
    distance: Array,
    came_from: NDArray[np.int64],
    row: int,
) -> int:
    """Shorten the distances of open columns through ``row``; returns the nearest one."""
    nearest, least = -1, np.inf
    for j in range(len(costs)):
        if done[j]:
            continue
        through = offset + costs[j] - v[j]
        if through < distance[j]:
            distance[j] = through
            came_from[j] = row
        if distance[j] < least or nearest < 0:
            least = distance[j]
            nearest = j
    return nearest
