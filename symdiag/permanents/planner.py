"""The one place that decides how a matrix is treated, by regime and effort, and says which way and why.

After dual scaling and splitting into blocks: blocks up to ``max_exact`` exactly, identical rows by counts, near
rank one by interval, the rest by SMC between certified bounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from symdiag.errors import UsageError
from symdiag.permanents import smc
from symdiag.permanents.batches import per_matrix
from symdiag.permanents.blocks import BlockStructure, block_structure, small_blocks
from symdiag.permanents.certificates import certify
from symdiag.permanents.exact import LARGEST, scaled_permanent
from symdiag.permanents.identical import count_log_permanent, rank_one_interval, row_types
from symdiag.permanents.macmahon import macmahon_upper
from symdiag.permanents.results import DEFAULT, Effort, LogPermanent
from symdiag.permanents.scaling import Scaled, centre, dual_scale
from symdiag.permanents.sinkhorn import sinkhorn
from symdiag.permanents.types import Array, IntArray

_EXACT_WITHIN = 1e-10  # nats
_SPLIT_LOSS = 1e-9  # nats a split into blocks may lose
_CLOSED = 2e-3  # nats between deterministic bounds at which nothing is left to estimate
_PILOTS = 4
_AGREE = 1.5  # nats between pilot runs up to which many small runs do
_RANK_ONE = 1e-6  # nats between rank-one bounds at which no other method is asked
_ROUNDING = 1e-12  # nats per row that count as rounding
_QUICK = 12  # blocks up to this size cost next to nothing
_WORTH_SPLITTING = 14


@dataclass(frozen=True)
class Part:
    """log perm of one block or matrix with its bounds, nats; names as in ``LogPermanent``."""

    value: float
    lower: float
    upper: float
    expected_lower: float
    expected_upper: float
    probable_lower: float
    exact: bool
    method: str
    reason: str
    operations: float = 0.0

    @classmethod
    def certain(cls, value: float, slack: float, method: str, reason: str) -> Part:
        """Known to within ``slack`` nats."""
        return cls(value, value - slack, value + slack, value, value, value, True, method, reason)


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


def log_permanent(
    log_weights: Array,
    *,
    generator: np.random.Generator,
    effort: Effort = DEFAULT,
    bounds: bool = True,
) -> LogPermanent:
    """log perm(exp(log_weights)) of each matrix, with bounds.

    Args:
        log_weights: (B, n, n), -inf allowed.
        generator: source of all randomness.
        effort: how hard to try.
        bounds: whether large blocks get certified bounds and the conditional run; without, only estimates.

    Raises:
        UsageError: wrong shape, NaN or +inf, or ``effort.max_exact`` above 24.
    """
    matrices = check(log_weights)
    if effort.max_exact > LARGEST:
        raise UsageError(f"max_exact goes up to {LARGEST}, not {effort.max_exact}")
    parts = per_matrix(lambda matrix, child: _matrix(matrix, child, effort, bounds), matrices, generator)
    columns = {
        name: np.array([getattr(part, name) for part in parts], dtype=np.float64)
        for name in ("value", "lower", "upper", "expected_lower", "expected_upper", "probable_lower", "operations")
    }
    return LogPermanent(
        value=columns["value"],
        certified_lower=columns["lower"],
        certified_upper=columns["upper"],
        expected_lower=columns["expected_lower"],
        expected_upper=columns["expected_upper"],
        probable_lower=columns["probable_lower"],
        exact=np.array([part.exact for part in parts], dtype=np.bool_),
        method=tuple(part.method for part in parts),
        reason=tuple(part.reason for part in parts),
        operations=columns["operations"],
    )


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
        return self.scaled.log_scaled if whole else np.ascontiguousarray(self.scaled.log_scaled[np.ix_(index, index)])

    def identity(self) -> IntArray:
        """(n,) position of the original identity: row i sits at column position identity[i]."""
        position = np.empty_like(self.scaled.columns)
        position[self.scaled.columns] = np.arange(len(position))
        return position


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
        return Plan(scaled, block_structure(scaled.log_scaled, tolerance=1e-13) if n > _WORTH_SPLITTING else one)
    fine = small_blocks(scaled.log_scaled, min(effort.max_exact, _QUICK))
    if fine is None or fine.loss <= _SPLIT_LOSS:
        return Plan(scaled, fine or block_structure(scaled.log_scaled, tolerance=_SPLIT_LOSS))
    lower = _blocks_value(scaled.log_scaled, fine)
    upper = min(macmahon_upper(scaled.log_scaled), lower + fine.loss)
    structure = fine if upper - lower <= _CLOSED else block_structure(scaled.log_scaled, tolerance=_SPLIT_LOSS)
    return Plan(scaled, structure, lower - 1e-15 * n, upper)


def _blocks_value(log_scaled: Array, structure: BlockStructure) -> float:
    """Exact log perm of the block diagonal part."""
    logs = [
        math.log(scaled_permanent(np.exp(log_scaled[np.ix_(block, block)]))[0])
        for block in structure.blocks
        if len(block) > 1
    ]
    return math.fsum(logs)


def _matrix(matrix: Array, generator: np.random.Generator, effort: Effort, bounds: bool) -> Part:
    start = time.perf_counter()
    planned = plan(matrix, effort)
    if not math.isfinite(planned.scaled.offset):
        return Part.certain(-math.inf, 0.0, "exact-dp", "no permutation has positive weight")
    if planned.upper - planned.lower <= _CLOSED:
        return _closed(planned)
    blocks = planned.structure.blocks
    large = sum(len(block) > effort.max_exact for block in blocks)
    deadline = math.inf if effort.seconds is None else start + effort.seconds
    identity = planned.identity()
    parts = []
    for block in blocks:
        if len(block) > 1:
            local = local_identity(identity, block)
            parts.append(_block(planned.block(block), local, generator, effort, bounds, deadline, large))
    return replace(_sum(parts, planned), operations=sum(_operations(len(block), effort) for block in blocks))


def _operations(size: int, effort: Effort) -> float:
    """Steps one block of ``size`` rows takes, as a machine-independent measure of cost."""
    if size <= effort.max_exact:
        return size * 2.0**size if size > 1 else 0.0
    return float(size**2 * effort.particles * (effort.runs + 2))


def _closed(planned: Plan) -> Part:
    """Separated: block product and MacMahon's determinant (or the loss bound) leave next to nothing between them."""
    offset, structure = planned.scaled.offset, planned.structure
    slack = 1e-15 * (abs(offset) + len(planned.scaled.columns))
    lower, upper = offset + planned.lower - slack, offset + planned.upper + slack
    width = planned.upper - planned.lower
    value = offset + (planned.lower + planned.upper) / 2
    reason = f"{len(structure.blocks)} blocks, largest {structure.largest}, bounds {width:.1e} nats apart"
    return Part(value, lower, upper, lower, upper, lower, width <= _EXACT_WITHIN, "blocks", reason)


def local_identity(identity: IntArray, block: IntArray) -> IntArray | None:
    """The identity restricted to a block; None when it leaves the block (chance below the loss bound)."""
    targets = identity[block]
    local = np.minimum(np.searchsorted(block, targets), len(block) - 1)
    return local if bool((block[local] == targets).all()) else None


def _block(
    log_block: Array,
    identity: IntArray | None,
    generator: np.random.Generator,
    effort: Effort,
    bounds: bool,
    deadline: float,
    large: int,
) -> Part:
    n = len(log_block)
    if n <= effort.max_exact:
        value, _ = scaled_permanent(np.exp(log_block))
        return Part.certain(math.log(value), 1e-14 * n, "exact-dp", f"{n} <= {effort.max_exact}")
    return _repeated(log_block) or _sampled(log_block, identity, generator, effort, bounds, deadline, large)


def _repeated(log_block: Array) -> Part | None:
    """Closed forms: nearly rank one, or few distinct rows or columns."""
    n = len(log_block)
    if np.isfinite(log_block).all():
        low, high = rank_one_interval(log_block)
        if high - low <= _RANK_ONE:
            middle, reason = (low + high) / 2, f"{n} rows equal up to scale, to {high - low:.1e} nats"
            exact = high - low <= _ROUNDING * n
            ends = (middle, middle) if exact else (low, high)
            return Part(middle, low, high, *ends, low, exact, "identical", reason)
    for matrix, what in ((log_block, "rows"), (log_block.T, "columns")):
        found = row_types(matrix)
        if found is not None:
            types, counts, scale, misfit = found
            value = count_log_permanent(types, counts) + scale
            slack = misfit + 1e-15 * n * (1.0 + abs(value))
            return Part.certain(value, slack, "identical", f"{len(counts)} distinct {what} of {n}")
    return None


def _sampled(
    log_block: Array,
    identity: IntArray | None,
    generator: np.random.Generator,
    effort: Effort,
    bounds: bool,
    deadline: float,
    large: int,
) -> Part:
    n = len(log_block)
    balanced = sinkhorn(np.exp(log_block))
    proposal = smc.prepare_scaled(balanced, 0.0, np.arange(n))
    lower, upper = certify(log_block, balanced, thorough=effort.certify) if bounds else (-math.inf, math.inf)
    particles, count = _allocation(proposal, generator, effort)
    runs: list[float] = []
    while len(runs) < count and (len(runs) < 2 or time.perf_counter() < deadline):
        runs.append(smc.run(proposal, particles, generator).log_estimate)
    plain = np.array(runs)
    expected_lower = smc.log_mean_exp(plain)
    expected_upper = upper
    if bounds and identity is not None:
        held = smc.conditional_run(proposal, particles, generator, identity).log_estimate
        expected_upper = smc.log_mean_exp(np.append(plain[1:], held))
    probable = float(plain.min()) - math.log(large / effort.delta) / len(plain)
    value = min(max(expected_lower, lower), upper)
    reason = f"{n} > {effort.max_exact}, rows differ; {len(plain)} runs of {particles} particles"
    return Part(value, lower, upper, expected_lower, expected_upper, max(probable, lower), False, "smc", reason)


def _allocation(proposal: smc.Proposal, generator: np.random.Generator, effort: Effort) -> tuple[int, int]:
    """Particles and runs: where small pilot runs disagree, fewer and larger runs close the gap best.

    The pilots are plain and thrown away: a choice that looked at the identity would spoil its being a posterior draw.
    """
    if effort.runs < _PILOTS:
        return effort.particles, effort.runs
    pilot = max(2, effort.particles // 4)
    logs = [smc.run(proposal, pilot, generator).log_estimate for _ in range(_PILOTS)]
    if max(logs) - min(logs) <= _AGREE:
        return effort.particles, effort.runs
    return effort.particles * effort.runs * 3 // 4, max(2, effort.runs // 4)


def _sum(parts: Sequence[Part], planned: Plan) -> Part:
    """Blocks add up; what the split may have dropped goes to the upper ends."""
    offset, structure = planned.scaled.offset, planned.structure
    slack = 1e-15 * (abs(offset) + len(planned.scaled.columns))

    def total(name: str) -> float:
        return math.fsum([offset, *(getattr(part, name) for part in parts)])

    lower = max(total("lower"), offset + planned.lower) - slack
    upper = min(total("upper") + structure.loss, offset + planned.upper) + slack
    exact = all(part.exact for part in parts) and min(structure.loss, upper - lower) <= _EXACT_WITHIN
    value = min(max(total("value"), lower), upper)
    expected = (value, value) if exact else (total("expected_lower"), total("expected_upper") + structure.loss)
    if _identity_leaves(planned):
        expected = (expected[0], max(expected[1], upper))
    methods = sorted({part.method for part in parts}) or ["exact-dp"]
    return Part(
        value,
        lower,
        upper,
        expected[0],
        expected[1],
        max(total("probable_lower") - slack, lower),
        exact,
        methods[0] if len(structure.blocks) == 1 else "blocks",
        _reason(parts, structure, methods),
    )


def _identity_leaves(planned: Plan) -> bool:
    if len(planned.structure.blocks) == 1:
        return False
    identity = planned.identity()
    return any(local_identity(identity, block) is None for block in planned.structure.blocks)


def _reason(parts: Sequence[Part], structure: BlockStructure, methods: Sequence[str]) -> str:
    if len(structure.blocks) == 1:
        return parts[0].reason if parts else "1 x 1"
    largest = f"{len(structure.blocks)} blocks, largest {structure.largest}, loss <= {structure.loss:.1e} nats"
    hardest = [part.reason for part in parts if not part.exact]
    return "; ".join([largest, "/".join(methods), *hardest[:1]])
