"""Permanents of matrices whose rows (or columns) repeat up to scale: closed form, or a recursion
over counts.
"""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.permanents.bounds.rank_one import rank_one_interval
from symdiag.permanents.estimators import Estimator, Task
from symdiag.permanents.results import Ends, Part

_RANK_ONE = 1e-6  # nats between rank-one bounds at which no other method is asked
_ROUNDING = 1e-12  # nats per row that count as rounding
_STATES = 2_000_000  # cells of the count table times columns we are willing to fill


def row_types(
    log_weights: Array, *, tolerance: float = 1e-12
) -> tuple[Array, IntArray, float, float] | None:
    """Distinct rows up to scale: (r, n) types, (r,) multiplicities, summed row scales, misfit; None
    if there are many.

    Rows within ``tolerance`` count as equal; ``misfit`` bounds what that changes in log perm
    (nats): each row enters every permutation once.
    """
    n = len(log_weights)
    scale = log_weights.max(axis=1)
    shape = log_weights - scale[:, None]
    if 2 * len(np.unique(np.round(shape[:, 0], 9))) > n:  # cheap way out for the common case
        return None
    rest = np.arange(n)
    types: list[Array] = []
    counts: list[int] = []
    misfit = 0.0
    while len(rest):
        finite = np.isfinite(shape[rest[0]])
        gap = np.where(finite, np.abs(shape[rest] - np.where(finite, shape[rest[0]], 0.0)), 0.0)
        same = (gap <= tolerance).all(axis=1) & (np.isfinite(shape[rest]) == finite).all(axis=1)
        types.append(shape[rest[0]])
        counts.append(int(same.sum()))
        misfit += float(gap[same].max(axis=1).sum())
        rest = rest[~same]
        if 2 * len(counts) > n or table_size(counts) * n > _STATES:
            return None
    return np.array(types), np.array(counts), math.fsum(scale.tolist()), misfit


def table_size(counts: list[int]) -> int:
    """States of the count recursion: every type but the most frequent is counted, the last follows
    from the column.
    """
    ordered = sorted(counts)[:-1]
    return math.prod(count + 1 for count in ordered)


def count_log_permanent(types: Array, counts: IntArray) -> float:
    """log perm of the matrix that repeats row ``types[t]`` ``counts[t]`` times (r types of n
    columns).

    perm = prod_t counts_t! times the sum, over assignments of columns to types with those counts,
    of the product of entries; columns are added one at a time to a table over the counts used so
    far.
    """
    order = np.argsort(counts)
    types, counts = types[order], counts[order]
    shape = tuple(int(count) + 1 for count in counts[:-1])
    used = np.indices(shape).sum(axis=0) if shape else np.zeros((), dtype=np.int64)
    table = np.full(shape, -np.inf)
    table[(0,) * len(shape)] = 0.0
    for j in range(types.shape[1]):
        last = j + 1 - used  # rows of the most frequent type used after this column
        new = np.where((last >= 1) & (last <= counts[-1]), table + types[-1, j], -np.inf)
        for axis in range(len(shape)):
            shifted = np.full(shape, -np.inf)
            target = tuple(slice(1, None) if a == axis else slice(None) for a in range(len(shape)))
            source = tuple(slice(None, -1) if a == axis else slice(None) for a in range(len(shape)))
            shifted[target] = table[source] + types[axis, j]
            new = np.logaddexp(new, np.where((last >= 0) & (last <= counts[-1]), shifted, -np.inf))
        table = new
    return float(table[tuple(size - 1 for size in shape)]) + sum(
        math.lgamma(int(count) + 1) for count in counts
    )


def _evaluate(task: Task) -> Part | None:
    if task.matrix.finite:
        found = _nearly_rank_one(task)
        if found is not None:
            return found
    return _few_types(task.matrix.log_weights)


def _nearly_rank_one(task: Task) -> Part | None:
    log_weights, n = task.matrix.log_weights, task.matrix.size
    ends = rank_one_interval(log_weights)
    width = ends.upper - ends.lower
    if width > _RANK_ONE:
        return None
    middle = (ends.lower + ends.upper) / 2
    exact = width <= _ROUNDING * n
    expected = Ends(middle, middle) if exact else ends
    # all permutations weigh the same: pi' uniform leaves P invariant up to the misfit
    weight = math.nan
    if task.inner_entropy is not None:
        weight = float((log_weights - task.inner_entropy).sum()) / n
    reason = f"{n} rows equal up to scale, to {width:.1e} nats"
    return Part(middle, ends, expected, ends.lower, exact, "identical", reason, weight)


def _few_types(log_weights: Array) -> Part | None:
    n = len(log_weights)
    for matrix, what in ((log_weights, "rows"), (log_weights.T, "columns")):
        found = row_types(matrix)
        if found is not None:
            types, counts, scale, misfit = found
            value = count_log_permanent(types, counts) + scale
            slack = misfit + 1e-15 * n * (1.0 + abs(value))
            reason = f"{len(counts)} distinct {what} of {n}"
            return Part.certain(value, slack, "identical", reason)
    return None


ESTIMATOR = Estimator(
    "identical",
    order=1,
    when="rows or columns that repeat up to scale, as pruned units do: closed form or count DP",
    evaluate=_evaluate,
)
