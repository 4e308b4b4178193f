"""Both ends from the best rank-one fit: every permutation weighs the same up to the misfit."""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.bounds import Bound, ScaledMatrix, Stage
from symdiag.permanents.results import Ends


def rank_one_interval(log_weights: Array) -> Ends:
    """Ends on log perm from the best rank-one fit log A_ij ~ r_i + c_j of finite (n, n) entries.

    log n! + sum(r + c) + sum_i min_j E_ij <= log perm <= same with max, E the misfit. Equal for
    identical rows.
    """
    n = len(log_weights)
    row = log_weights.mean(axis=1)
    column = (log_weights - row[:, None]).mean(axis=0)
    misfit = log_weights - row[:, None]
    misfit -= column
    centre = math.lgamma(n + 1) + math.fsum(row.tolist()) + math.fsum(column.tolist())
    slack = 1e-15 * n * float(np.abs(log_weights).max(initial=0.0)) + 1e-14 * centre
    # a permutation uses each row once and each column once: either sum bounds its misfit
    low = max(math.fsum(misfit.min(axis=1).tolist()), math.fsum(misfit.min(axis=0).tolist()))
    high = min(math.fsum(misfit.max(axis=1).tolist()), math.fsum(misfit.max(axis=0).tolist()))
    return Ends(centre + low - abs(slack), centre + high + abs(slack))


def _evaluate(matrix: ScaledMatrix, stage: Stage) -> Ends:
    return rank_one_interval(matrix.log_weights)


BOUND = Bound(
    "rank-one",
    stages=("first",),
    when="rows equal up to scale; O(n²), so always worth a look",
    applies=lambda matrix: matrix.finite,
    evaluate=_evaluate,
)
