"""A stronger lower bound for small problems: dual ascent on the level-1 reformulation-linearisation
(RLT).

The cost of matching unit j to i in one group *and* l to k in another is a four-index array per
shared tensor. Any matrix of it may be reduced by assignment duals, and what is gained moves to the
group's own cost of (i, j); a group's own reduced costs may be spread back over the tensors it
shares. All moves leave every assignment's total unchanged (up to the constant collected), so what
is collected is a valid bound after every sweep (Adams & Johnson 1994, Hahn & Grant 1998, there for
the quadratic assignment problem).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from symdiag.alignment.assignment import Assignment, TensorBlock
from symdiag.alignment.bounds import rounding_slack
from symdiag.alignment.costs import Weights
from symdiag.alignment.descent import Solver
from symdiag.arrays import Array

_MAX_ENTRIES = 3_000_000
_SWEEP_ENTRIES = 3e7  # entries reduced in all: what bounds the time
_SWEEPS = 300
_STALLED = 5e-4  # of the gap, gained by one sweep


def reduce_assignments(costs: Array) -> Array:
    """Subtract optimal duals from every matrix of ``costs`` (B, S, n, n), in place; returns the
    (B,) optima.

    The assignment is over the minimum of the S sign choices; afterwards every entry is ≥ 0 up to
    rounding.
    """
    # duals of the cheaper sign are feasible for the dearer one as well: its entries only lie higher
    u, v = assignment_duals(np.ascontiguousarray(costs.min(axis=1)))
    costs -= u[:, None, :, None]
    costs -= v[:, None, None, :]
    values: Array = u.sum(axis=1) + v.sum(axis=1)
    return values


def dual_ascent_bound(solver: Solver, distance: float) -> float | None:
    """The bound, raised until it meets ``distance`` or stops rising; None where the problem is too
    large.

    Tensors coupling a group with itself or three groups enter by their unit costs with all else
    free.
    """
    problem = solver.problem
    # only tensors between two different groups have a four-index cost that a pair of assignments
    # reads
    paired = [b for b in problem.blocks if _is_pair(b)]
    size = sum(_four_index_size(problem, b) for b in paired)
    if not paired or size > _MAX_ENTRIES:
        return None
    own = [costs.copy() for costs in solver.static]
    for (index, k), part in solver.relaxed_parts().items():
        block = problem.blocks[index]
        if not _is_pair(block):
            # a tensor is counted once: each of its groups gets its share of the relaxed cost
            own[block.axes[k].group] += part / len(block.axes)
    shared = [four_index_costs(problem, b) for b in paired]
    slack = rounding_slack([*own, *(s.max(axis=(3, 4, 5)) for s in shared)])
    return _ascend(problem, paired, own, shared, distance - slack) - slack


def _ascend(
    problem: Assignment,
    paired: list[TensorBlock],
    own: list[Array],
    shared: list[Array],
    goal: float,
) -> float:
    ends = [(b.axes[0].group, b.axes[1].group) for b in paired]
    # a group that shares several tensors spreads its reduced costs evenly over them
    degree = [max(1, sum(g in pair for pair in ends)) for g in range(len(own))]
    total, before = problem.constant, -np.inf
    sweeps = int(min(_SWEEPS, max(10.0, _SWEEP_ENTRIES / sum(c.size for c in shared))))
    for sweep in range(sweeps):
        for (first, second), costs in zip(ends, shared, strict=True):
            _spread(costs, own[first] / degree[first], own[second] / degree[second])
        for costs in own:
            costs[...] = 0.0
        for (first, second), costs in zip(ends, shared, strict=True):
            _collect(costs, own[first], own[second], swap=sweep % 2 == 1)
        total += sum(float(reduce_assignments(costs[None])[0]) for costs in own)
        # the bound meets the distance (optimal), or a sweep gains too little of what is missing
        if total >= goal or total - before <= _STALLED * (goal - total):
            break
        before = total
    return total


def _spread(costs: Array, first: Array, second: Array) -> None:
    """Move both groups' own costs into the four-index costs: each unit pair's, evenly over the
    other's n rows.
    """
    costs += first[:, :, :, None, None, None] / costs.shape[4]
    costs += second[None, None, None] / costs.shape[1]


def _collect(costs: Array, first: Array, second: Array, *, swap: bool) -> None:
    """Reduce every unit pair's matrix, half of it on one side first, and book the gains as the
    groups' own costs.
    """
    # reducing one side first favours it: half of the costs goes each way, and turns alternate
    half = costs * 0.5
    costs -= half
    for turn in (swap, not swap):
        if turn:
            flipped = np.ascontiguousarray(half.transpose(3, 4, 5, 0, 1, 2))
            second += reduce_assignments(flipped.reshape(-1, *costs.shape[:3])).reshape(
                second.shape
            )
            half = flipped.transpose(3, 4, 5, 0, 1, 2)
        else:
            half = np.ascontiguousarray(half)
            first += reduce_assignments(half.reshape(-1, *costs.shape[3:])).reshape(first.shape)
        half = half + costs
        costs[...] = 0.0
    costs += half


def four_index_costs(problem: Assignment, block: TensorBlock) -> Array:
    """(S_a, n_a, n_a, S_b, n_b, n_b) cost of matching (i ← j, sign s) and (k ← l, sign t) in two
    groups.
    """
    (first, second), (n, m) = block.axes, block.model.loc.shape[:2]
    flat = [_flattened(side, n * m) for side in (block.model, block.reference)]
    # (n, m, n, m) pair costs of entries, brought to (i, j, k, l): slots and units of each group
    # together
    sides: list[Array] = []
    for model in (flat[0], flat[0].flipped()):
        pairs = problem.cost.pairwise(model, flat[1]).reshape(n, m, n, m)  # i, k, j, l
        sides.append(pairs.transpose(0, 2, 1, 3))
    signs = [2 if problem.groups[a.group].signed else 1 for a in block.axes]
    result = np.empty((signs[0], n, n, signs[1], m, m))
    for s in range(signs[0]):
        for t in range(signs[1]):
            # two flips of one entry cancel
            result[s, :, :, t] = sides[((s and first.flips) + (t and second.flips)) % 2]
    return result


def _flattened(side: Weights, rows: int) -> Weights:
    return Weights(
        side.loc.reshape(rows, -1), None if side.scale is None else side.scale.reshape(rows, -1)
    )


def _is_pair(block: TensorBlock) -> bool:
    return len(block.axes) == 2 and len(block.groups) == 2


def _four_index_size(problem: Assignment, block: TensorBlock) -> int:
    size = 1
    for axis in block.axes:
        group = problem.groups[axis.group]
        size *= group.width**2 * (2 if group.signed else 1)
    return size


F = TypeVar("F", bound=Callable[..., Any])


def _njit(function: F) -> F:
    return cast("F", numba.njit(cache=True, nogil=True)(function))


@_njit
def assignment_duals(costs: Array) -> tuple[Array, Array]:
    """Optimal dual variables of a batch of assignment problems, by shortest augmenting paths
    (Jonker & Volgenant 1987).

    Args:
        costs: (B, n, n).

    Returns:
        u, v of shape (B, n): ``costs[b, i, j] - u[b, i] - v[b, j] >= 0`` up to rounding, and Σ u +
        Σ v is the
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


@_njit
def _add_row(
    costs: Array,
    u: Array,
    v: Array,
    row_of: NDArray[np.intp],
    column_of: NDArray[np.intp],
    start: int,
) -> None:
    """Bring row ``start`` into the assignment along the shortest augmenting path; duals stay
    feasible.
    """
    n = len(costs)
    distance = np.full(n, np.inf)
    came_from = np.zeros(n, dtype=np.int64)
    done = np.zeros(n, dtype=np.bool_)
    # Dijkstra over reduced costs, all of them ≥ 0 by the duals so far
    row, reached = start, 0.0
    while True:
        column = _relax(costs[row], reached - u[row], v, done, distance, came_from, row)
        reached = distance[column]
        if row_of[column] < 0:
            break
        done[column] = True
        row = row_of[column]
    # raising the duals by what the path is longer keeps every reduced cost ≥ 0
    for j in np.flatnonzero(done):
        u[row_of[j]] += reached - distance[j]
        v[j] -= reached - distance[j]
    u[start] += reached
    row = -1
    while row != start:  # flip the path back to its start
        row = came_from[column]
        row_of[column] = row
        column, column_of[row] = column_of[row], column


@_njit
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
