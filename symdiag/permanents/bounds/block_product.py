"""Exact small blocks below, the same plus what cutting may have lost above."""

from __future__ import annotations

import math

import numpy as np

from symdiag.permanents.blocks import BlockStructure
from symdiag.permanents.bounds import Bound, ScaledMatrix, Stage
from symdiag.permanents.exact import scaled_permanent
from symdiag.permanents.results import Ends


def product_of_blocks(matrix: ScaledMatrix, structure: BlockStructure) -> float:
    """Exact log perm of the block diagonal part, nats."""
    logs = [
        math.log(scaled_permanent(np.exp(matrix.log_weights[np.ix_(block, block)]))[0])
        for block in structure.blocks
        if len(block) > 1
    ]
    return math.fsum(logs)


def _evaluate(matrix: ScaledMatrix, stage: Stage) -> Ends:
    cut = matrix.small_blocks
    if cut is None:
        return Ends()
    lower = product_of_blocks(matrix, cut)
    return Ends(lower - 1e-15 * matrix.size, lower + cut.loss)


BOUND = Bound(
    "block-product",
    stages=("whole",),
    when="rows that exchange in small sets only: exact inside them, blind across",
    evaluate=_evaluate,
)
