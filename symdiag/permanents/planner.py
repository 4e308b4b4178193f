"""The one place that decides how a matrix is treated, by regime and effort, and says which way.

Scaled by assignment duals (or by means, where entries differ little), the matrix is split into
blocks by two-cycle weight where that loses next to nothing; where the bounds of the whole matrix
nearly meet, their middle is the answer. Else each block goes to the first estimator of
``estimators/`` that takes it, and blocks add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.errors import ContradictionError, UsageError
from symdiag.permanents.blocks import BlockStructure, block_structure
from symdiag.permanents.bounds import ScaledMatrix, tightest
from symdiag.permanents.estimators import Task, estimate
from symdiag.permanents.exact import LARGEST
from symdiag.permanents.results import DEFAULT, NOTHING_KNOWN, Effort, Ends, LogPermanent, Part
from symdiag.permanents.scaling import Scaled, centre, dual_scale
from symdiag.permanents.threads import per_matrix

_SPLIT_LOSS = 1e-9  # nats a split into blocks may lose
_CLOSED = 2e-3  # nats between deterministic bounds at which nothing is left to estimate
_EXACT_WITHIN = 1e-10  # nats between bounds that count as exact
_QUICK = 12  # blocks up to this size cost next to nothing
_WORTH_SPLITTING = 14


def log_permanent(
    log_weights: Array,
    *,
    generator: np.random.Generator,
    effort: Effort = DEFAULT,
    bounds: bool = True,
    inner_entropy: Array | None = None,
) -> LogPermanent:
    """log perm(exp(log_weights)) of each matrix, with bounds.

    Args:
        log_weights: (B, n, n), -inf allowed.
        generator: source of all randomness.
        effort: how hard to try.
        bounds: whether large blocks get deterministic bounds and the conditional run; without,
            only estimates.
        inner_entropy: broadcastable to (B, n, n): entropy, in nats, of what each entry itself sums
            over (the two signs of a unit; zeros where it sums over nothing). When given,
            ``rao_blackwellised`` is computed.

    Raises:
        UsageError: wrong shape, NaN or +inf, or ``effort.max_exact`` above 24.
    """
    matrices = check(log_weights)
    if effort.max_exact > LARGEST:
        raise UsageError(f"max_exact goes up to {LARGEST}, not {effort.max_exact}")
    inner = (
        [None] * len(matrices)
        if inner_entropy is None
        else np.broadcast_to(inner_entropy, matrices.shape)
    )
    parts = per_matrix(
        lambda matrix, child, own: _evaluate(matrix, child, effort, bounds, own),
        matrices,
        generator,
        inner,
    )
    return LogPermanent(
        value=np.array([p.value for p in parts]),
        certified_lower=np.array([p.certified.lower for p in parts]),
        certified_upper=np.array([p.certified.upper for p in parts]),
        expected_lower=np.array([p.expected.lower for p in parts]),
        expected_upper=np.array([p.expected.upper for p in parts]),
        probable_lower=np.array([p.probable_lower for p in parts]),
        rao_blackwellised=np.array([p.value - p.weight for p in parts]),
        exact=np.array([p.exact for p in parts], dtype=np.bool_),
        method=tuple(p.method for p in parts),
        reason=tuple(p.reason for p in parts),
        operations=np.array([p.operations for p in parts]),
    )


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
class SplitMatrix:
    """A matrix scaled and split: what both values and marginals start from.

    ``whole`` bounds log perm of the scaled matrix as a whole (without its offset).
    """

    scaled: Scaled
    structure: BlockStructure
    whole: Ends = NOTHING_KNOWN

    @property
    def closed(self) -> bool:
        """Whether the ends of the whole matrix leave nothing to estimate."""
        return self.whole.upper - self.whole.lower <= _CLOSED

    def block(self, index: IntArray) -> Array:
        """Log weights of one block."""
        if len(index) == len(self.scaled.columns):
            return self.scaled.log_scaled
        return np.ascontiguousarray(self.scaled.log_scaled[np.ix_(index, index)])

    def same_block(self, entries: Array, index: IntArray) -> Array:
        """One block of another (n, n) matrix laid out as the original."""
        return entries[np.ix_(index, self.scaled.columns[index])]

    def identity(self) -> IntArray:
        """(n,) position of the original identity: row i sits at column position identity[i]."""
        position = np.empty_like(self.scaled.columns)
        position[self.scaled.columns] = np.arange(len(position))
        return position

    def identity_in(self, block: IntArray) -> IntArray | None:
        """The identity within a block; None when it leaves it (chance below the loss bound)."""
        targets = self.identity()[block]
        local = np.minimum(np.searchsorted(block, targets), len(block) - 1)
        return local if bool((block[local] == targets).all()) else None

    def identity_stays(self) -> bool:
        """Whether the original identity leads from no block to another."""
        label = np.empty_like(self.scaled.columns)
        for k, block in enumerate(self.structure.blocks):
            label[block] = k
        return bool((label[self.identity()] == label).all())


def split(matrix: Array, effort: Effort) -> SplitMatrix:
    """Scale and split one (n, n) matrix; the scaling's offset is -inf when the permanent is zero."""
    n = len(matrix)
    one = BlockStructure((np.arange(n),), 0.0)
    # entries that differ little never split, and need no assignment problem
    centred = centre(matrix) if n > effort.max_exact else None
    if centred is not None:
        return SplitMatrix(centred, one)
    scaled = dual_scale(matrix)
    if not math.isfinite(scaled.offset):
        return SplitMatrix(scaled, BlockStructure((), 0.0))
    if n <= _WORTH_SPLITTING and n <= effort.max_exact:
        return SplitMatrix(scaled, one)
    if n <= effort.max_exact:
        return SplitMatrix(scaled, block_structure(scaled.log_scaled, tolerance=1e-13))
    whole = ScaledMatrix(scaled.log_scaled, small=min(effort.max_exact, _QUICK))
    fine = whole.small_blocks
    if fine is not None and fine.loss <= _SPLIT_LOSS:
        return SplitMatrix(scaled, fine)
    ends = NOTHING_KNOWN if fine is None else tightest(whole, "whole")
    if fine is None or ends.upper - ends.lower > _CLOSED:
        fine = block_structure(scaled.log_scaled, tolerance=_SPLIT_LOSS)
    return SplitMatrix(scaled, fine, ends)


def _evaluate(
    matrix: Array,
    generator: np.random.Generator,
    effort: Effort,
    bounds: bool,
    inner: Array | None,
) -> Part:
    """log perm of one matrix (n, n)."""
    found = split(matrix, effort)
    if not math.isfinite(found.scaled.offset):
        return Part.certain(-math.inf, 0.0, "exact-dp", "no permutation has positive weight")
    if found.closed and inner is None:
        return _middle(found)
    blocks = [block for block in found.structure.blocks if len(block) > 1]
    sampled = sum(len(block) > effort.max_exact for block in blocks)
    parts = [
        estimate(
            Task(
                ScaledMatrix(found.block(block)),
                generator,
                effort,
                found.identity_in(block),
                None if inner is None else found.same_block(inner, block),
                bounds,
                sampled,
            )
        )
        for block in blocks
    ]
    whole = _sum([*_single_rows(found, inner), *parts], found)
    if inner is not None and not found.identity_stays():
        # moves within blocks do not reach out of such a state: it stands for itself
        whole = replace(whole, weight=float((np.diagonal(matrix) - np.diagonal(inner)).sum()))
    return replace(_middle(found), weight=whole.weight) if found.closed else whole


def _middle(found: SplitMatrix) -> Part:
    """Separated: the bounds of the whole matrix leave next to nothing between them."""
    offset, structure, whole = found.scaled.offset, found.structure, found.whole
    width = whole.upper - whole.lower
    slack = _offset_slack(found)
    ends = Ends(offset + whole.lower - slack, offset + whole.upper + slack)
    reason = f"{_shape(structure)}, bounds {width:.1e} nats apart"
    exact = width <= _EXACT_WITHIN
    value = offset + (whole.lower + whole.upper) / 2
    return Part(value, ends, ends, ends.lower, exact, "blocks", reason)


def _single_rows(found: SplitMatrix, inner: Array | None) -> list[Part]:
    """All 1 x 1 blocks as one part: their entries were scaled to 1."""
    single = [block[0] for block in found.structure.blocks if len(block) == 1]
    if not single:
        return []
    rows = np.array(single, dtype=np.int64)
    weight = math.nan if inner is None else -float(inner[rows, found.scaled.columns[rows]].sum())
    return [Part.certain(0.0, 0.0, "exact-dp", "1 x 1", weight=weight)]


def _sum(parts: Sequence[Part], found: SplitMatrix) -> Part:
    """Blocks add up; what the split may have dropped goes to the upper ends.

    Raises:
        ContradictionError: the blocks' ends and the whole matrix's exclude each other.
    """
    offset, loss = found.scaled.offset, found.structure.loss
    slack = _offset_slack(found)

    def total(values: Sequence[float]) -> float:
        return math.fsum([offset, *values])

    added = Ends(
        total([p.certified.lower for p in parts]), total([p.certified.upper for p in parts]) + loss
    )
    ends = Ends(
        max(added.lower, offset + found.whole.lower) - slack,
        min(added.upper, offset + found.whole.upper) + slack,
    )
    if ends.lower > ends.upper + 1e-9 * (1.0 + abs(offset)):
        raise ContradictionError(f"{_shape(found.structure)}: {ends.lower} <= . <= {ends.upper}")
    # an estimate outside certified ends is the sampler's error, not the ends'
    value = min(max(total([p.value for p in parts]), ends.lower), ends.upper)
    exact = all(p.exact for p in parts) and min(loss, ends.upper - ends.lower) <= _EXACT_WITHIN
    expected = Ends(value, value)
    if not exact:
        above = total([p.expected.upper for p in parts]) + loss
        expected = Ends(total([p.expected.lower for p in parts]), above)
    if not found.identity_stays():  # then no conditional run was seeded with a posterior draw
        expected = Ends(expected.lower, max(expected.upper, ends.upper))
    methods = sorted({p.method for p in parts})
    return Part(
        value,
        ends,
        expected,
        max(total([p.probable_lower for p in parts]) - slack, ends.lower),
        exact,
        "blocks" if len(found.structure.blocks) > 1 else (methods or ["exact-dp"])[0],
        _reason(parts, found.structure, methods),
        total([p.weight for p in parts]),
        math.fsum(p.operations for p in parts),
    )


def _offset_slack(found: SplitMatrix) -> float:
    """Rounding of the log weight of the best permutation and of a sum over rows."""
    return 1e-15 * (abs(found.scaled.offset) + len(found.scaled.columns))


def _shape(structure: BlockStructure) -> str:
    return f"{len(structure.blocks)} blocks, largest {structure.largest}"


def _reason(parts: Sequence[Part], structure: BlockStructure, methods: Sequence[str]) -> str:
    if len(structure.blocks) == 1:
        return parts[0].reason if parts else "1 x 1"
    hardest = [part.reason for part in parts if not part.exact]
    loss = f"{_shape(structure)}, loss <= {structure.loss:.1e} nats"
    return "; ".join([loss, "/".join(methods), *hardest[:1]])
