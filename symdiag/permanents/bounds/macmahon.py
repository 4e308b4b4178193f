"""MacMahon's determinant: B = I + N with spectral radius of N below 1 has perm B <= 1/det(I - N)."""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.blocks import neg_logdet
from symdiag.permanents.bounds import Bound, ScaledMatrix, Stage
from symdiag.permanents.results import Ends


def macmahon_upper(log_scaled: Array) -> float:
    """-logdet(I - N) >= log perm of an (n, n) dual-scaled log-weight matrix (diagonal 0).

    inf where it says nothing (docs/theory/permanents.md, 3).
    """
    if np.any(np.diagonal(log_scaled) != 0.0):
        return math.inf
    dropped = np.exp(log_scaled)
    np.fill_diagonal(dropped, 0.0)
    return neg_logdet(dropped)


def _evaluate(matrix: ScaledMatrix, stage: Stage) -> Ends:
    return Ends(upper=macmahon_upper(matrix.log_weights))


BOUND = Bound(
    "macmahon",
    stages=("whole",),
    when="well separated rows: within 1 % of log perm there, silent elsewhere; O(n³)",
    evaluate=_evaluate,
)
