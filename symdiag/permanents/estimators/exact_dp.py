"""Blocks of up to ``max_exact`` rows: the subset dynamic programme, exact to rounding."""

from __future__ import annotations

import math

import numpy as np

from symdiag.permanents.estimators import Estimator, Task, mean_log_weight
from symdiag.permanents.exact import scaled_permanent
from symdiag.permanents.results import Part

_MARGINALS = 3.0  # what marginals cost, in units of the value alone


def _evaluate(task: Task) -> Part | None:
    n, log_weights = task.matrix.size, task.matrix.log_weights
    if n > task.effort.max_exact:
        return None
    wanted = task.inner_entropy is not None
    value, marginals = scaled_permanent(np.exp(log_weights), with_marginals=wanted)
    weight, steps = math.nan, n * 2.0**n
    if task.inner_entropy is not None and marginals is not None:
        weight = mean_log_weight(marginals, log_weights, task.inner_entropy)
        steps *= _MARGINALS
    reason = f"block of {n} rows"
    # all terms are nonnegative: about n roundings per path, no cancellation
    return Part.certain(
        math.log(value), 1e-14 * n, "exact-dp", reason, weight=weight, operations=steps
    )


ESTIMATOR = Estimator(
    "exact-dp",
    order=0,
    when="blocks of at most max_exact rows: O(2^n n), no error to speak of",
    evaluate=_evaluate,
)
