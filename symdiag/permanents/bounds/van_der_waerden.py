"""Van der Waerden's lower bound at the Sinkhorn limit (Egorychev 1981, Falikman 1981).

``log perm A >= log(n!/n^n) + sum P log(A / P)`` for every doubly stochastic P
(docs/theory/permanents.md, 5).
"""

from __future__ import annotations

import math

from symdiag.arrays import Array
from symdiag.permanents.bounds import Bound, ScaledMatrix, Stage
from symdiag.permanents.doubly_stochastic import energy_and_entropy, rounding_slack
from symdiag.permanents.results import Ends


def van_der_waerden_lower(log_weights: Array, matrix: Array) -> float:
    """The bound in nats at any exactly rounded doubly stochastic P (n, n)."""
    n = len(matrix)
    energy, _ = energy_and_entropy(log_weights, matrix)
    slack = rounding_slack(log_weights, energy)
    return energy + math.lgamma(n + 1) - n * math.log(n) - slack


def _evaluate(matrix: ScaledMatrix, stage: Stage) -> Ends:
    return Ends(lower=van_der_waerden_lower(matrix.log_weights, matrix.doubly_stochastic))


BOUND = Bound(
    "van-der-waerden",
    stages=("first",),
    when="nearly identical rows: tight at rank one, n log n - log n! nats loose near separation",
    applies=lambda matrix: matrix.finite,  # rounding would put mass on zeros
    evaluate=_evaluate,
)
