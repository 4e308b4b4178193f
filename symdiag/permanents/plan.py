"""How a matrix is scaled and split before anything is evaluated: what values and marginals both start from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.errors import UsageError
from symdiag.permanents.blocks import BlockStructure, block_structure, small_blocks
from symdiag.permanents.exact import scaled_permanent
from symdiag.permanents.macmahon import macmahon_upper
from symdiag.permanents.results import Effort
from symdiag.permanents.scaling import Scaled, centre, dual_scale

SPLIT_LOSS = 1e-9
"""Nats a split into blocks may lose."""
CLOSED = 2e-3
"""Nats between deterministic bounds at which nothing is left to estimate."""
_QUICK = 12  # blocks up to this size cost next to nothing
_WORTH_SPLITTING = 14


def check(log_weights: Array) -> Array:
    """(B, n, n) float64 without NaN or +inf; a single (n, n) matrix becomes a batch of one.

    Raises:
        UsageError: wrong shape, NaN or +inf.
    """
    matrices = np.asarray(log_weights, dtype=np.float64)
    matrices = matrices[None] if matrices.ndim == 2 else matrices
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise UsageError(f"log weights must have shape (B, n, n), not {matrices.shape}")
    if matrices.size and not float(matrices.max()) < np.inf:
        raise UsageError("log weights must not hold NaN or +inf")
    return matrices


@dataclass(frozen=True)
class Plan:
    """A matrix scaled and split: what both values and marginals start from.

    ``lower``/``upper`` bound log perm of the scaled matrix as a whole (without its offset).
    """

    scaled: Scaled
    structure: BlockStructure
    lower: float = -math.inf
    upper: float = math.inf

    def block(self, index: IntArray) -> Array:
        """Log weights of one block."""
        whole = len(index) == len(self.scaled.columns)
        return (
            self.scaled.log_scaled
            if whole
            else np.ascontiguousarray(self.scaled.log_scaled[np.ix_(index, index)])
        )

    def local(self, entries: Array, index: IntArray) -> Array:
        """One block of another (n, n) matrix laid out as the original."""
        return entries[np.ix_(index, self.scaled.columns[index])]

    def identity(self) -> IntArray:
        """(n,) position of the original identity: row i sits at column position identity[i]."""
        position = np.empty_like(self.scaled.columns)
        position[self.scaled.columns] = np.arange(len(position))
        return position

    def identity_stays(self) -> bool:
        """Whether the original identity leads from no block to another."""
        label = np.empty_like(self.scaled.columns)
        for k, block in enumerate(self.structure.blocks):
            label[block] = k
        return bool((label[self.identity()] == label).all())


def plan(matrix: Array, effort: Effort) -> Plan:
    """Scale and split one (n, n) matrix; the scaling's offset is -inf when the permanent is zero."""
    n = len(matrix)
    one = BlockStructure((np.arange(n),), 0.0)
    centred = centre(matrix) if n > effort.max_exact else None
    if centred is not None:
        return Plan(centred, one)
    scaled = dual_scale(matrix)
    if not math.isfinite(scaled.offset):
        return Plan(scaled, BlockStructure((), 0.0))
    if n <= effort.max_exact:
        return Plan(
            scaled,
            block_structure(scaled.log_scaled, tolerance=1e-13) if n > _WORTH_SPLITTING else one,
        )
    fine = small_blocks(scaled.log_scaled, min(effort.max_exact, _QUICK))
    if fine is None or fine.loss <= SPLIT_LOSS:
        return Plan(scaled, fine or block_structure(scaled.log_scaled, tolerance=SPLIT_LOSS))
    lower = _blocks_value(scaled.log_scaled, fine)
    upper = min(macmahon_upper(scaled.log_scaled), lower + fine.loss)
    structure = (
        fine
        if upper - lower <= CLOSED
        else block_structure(scaled.log_scaled, tolerance=SPLIT_LOSS)
    )
    return Plan(scaled, structure, lower - 1e-15 * n, upper)


def _blocks_value(log_scaled: Array, structure: BlockStructure) -> float:
    """Exact log perm of the block diagonal part."""
    logs = [
        math.log(scaled_permanent(np.exp(log_scaled[np.ix_(block, block)]))[0])
        for block in structure.blocks
        if len(block) > 1
    ]
    return math.fsum(logs)


def local_identity(identity: IntArray, block: IntArray) -> IntArray | None:
    """The identity restricted to a block; None when it leaves the block (chance below the loss bound)."""
    targets = identity[block]
    local = np.minimum(np.searchsorted(block, targets), len(block) - 1)
    return local if bool((block[local] == targets).all()) else None
