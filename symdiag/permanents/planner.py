"""The one place that decides how a matrix is treated, by regime and effort, and says which way and why.

After dual scaling and splitting into blocks: blocks up to ``max_exact`` exactly, identical rows by counts, near
rank one by interval, the rest by SMC between certified bounds.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.errors import UsageError
from symdiag.permanents import smc
from symdiag.permanents.batches import beside, per_matrix
from symdiag.permanents.certificates import certify
from symdiag.permanents.exact import LARGEST, scaled_permanent
from symdiag.permanents.identical import count_log_permanent, rank_one_interval, row_types
from symdiag.permanents.mcmc import swap_mcmc
from symdiag.permanents.parts import EXACT_WITHIN, Part, combine
from symdiag.permanents.plan import CLOSED, Plan, check, local_identity, plan
from symdiag.permanents.results import DEFAULT, Effort, LogPermanent
from symdiag.permanents.sinkhorn import sinkhorn

_PILOTS = 4
_ALIKE = 1e-4  # nats per row between pilot runs up to which runs as small as the pilots do
_AGREE = 1.5  # the same for many runs of the size asked for
_RANK_ONE = 1e-6  # nats between rank-one bounds at which no other method is asked
_ROUNDING = 1e-12  # nats per row that count as rounding
_SWAPS = 32  # swaps proposed per row to average over labellings
_WIDE = 256  # rows from which bounds are computed beside the runs
_RUN = 1.5e6  # steps that a run of few rows takes anyway
_MARGINALS = 3.0  # what marginals cost, in units of the value alone


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
        bounds: whether large blocks get certified bounds and the conditional run; without, only estimates.
        inner_entropy: broadcastable to (B, n, n): entropy, in nats, of what each entry itself sums over (the two signs
            of a unit; zeros where it sums over nothing). When given, ``averaged`` is computed.

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
        lambda matrix, child, own: _matrix(matrix, child, effort, bounds, own),
        matrices,
        generator,
        inner,
    )

    def column(name: str) -> Array:
        return np.array([getattr(part, name) for part in parts], dtype=np.float64)

    return LogPermanent(
        value=column("value"),
        certified_lower=column("lower"),
        certified_upper=column("upper"),
        expected_lower=column("expected_lower"),
        expected_upper=column("expected_upper"),
        probable_lower=column("probable_lower"),
        averaged=column("averaged"),
        exact=np.array([part.exact for part in parts], dtype=np.bool_),
        method=tuple(part.method for part in parts),
        reason=tuple(part.reason for part in parts),
        operations=column("operations"),
    )


def _matrix(
    matrix: Array,
    generator: np.random.Generator,
    effort: Effort,
    bounds: bool,
    inner: Array | None = None,
) -> Part:
    start = time.perf_counter()
    planned = plan(matrix, effort)
    if not math.isfinite(planned.scaled.offset):
        return Part.certain(-math.inf, 0.0, "exact-dp", "no permutation has positive weight")
    closed = planned.upper - planned.lower <= CLOSED
    if closed and inner is None:
        return _closed(planned)
    blocks = planned.structure.blocks
    large = sum(len(block) > effort.max_exact for block in blocks)
    deadline = math.inf if effort.seconds is None else start + effort.seconds
    identity = planned.identity()
    parts = _singles(planned, inner)
    for block in blocks:
        own = None if inner is None else planned.local(inner, block)
        if 1 < len(block) <= effort.max_exact:
            parts.append(_exact(planned.block(block), own))
        elif len(block) > 1:
            local = local_identity(identity, block)
            parts.append(
                _repeated(planned.block(block), own)
                or _sampled(
                    planned.block(block), own, local, generator, effort, bounds, deadline, large
                )
            )
    whole = combine(parts, planned)
    if (
        inner is not None and not planned.identity_stays()
    ):  # the block moves do not reach out of such a state
        whole = replace(whole, weight=float((np.diagonal(matrix) - np.diagonal(inner)).sum()))
    return replace(_closed(planned), weight=whole.weight) if closed else whole


def _closed(planned: Plan) -> Part:
    """Separated: block product and MacMahon's determinant (or the loss bound) leave next to nothing between them."""
    offset, structure = planned.scaled.offset, planned.structure
    slack = 1e-15 * (abs(offset) + len(planned.scaled.columns))
    lower, upper = offset + planned.lower - slack, offset + planned.upper + slack
    width = planned.upper - planned.lower
    value = offset + (planned.lower + planned.upper) / 2
    reason = f"{len(structure.blocks)} blocks, largest {structure.largest}, bounds {width:.1e} nats apart"
    return Part(value, lower, upper, lower, upper, lower, width <= EXACT_WITHIN, "blocks", reason)


def _singles(planned: Plan, inner: Array | None) -> list[Part]:
    """All 1 x 1 blocks as one part."""
    rows = np.array(
        [block[0] for block in planned.structure.blocks if len(block) == 1], dtype=np.int64
    )
    if not len(rows):
        return []
    weight = math.nan if inner is None else -float(inner[rows, planned.scaled.columns[rows]].sum())
    return [Part.certain(0.0, 0.0, "exact-dp", "1 x 1", weight)]


def _exact(log_block: Array, inner: Array | None) -> Part:
    """One block by dynamic programming; with ``inner``, its marginals too."""
    n = len(log_block)
    value, marginals = scaled_permanent(np.exp(log_block), with_marginals=inner is not None)
    weight, steps = math.nan, n * 2.0**n
    if inner is not None and marginals is not None:
        weight, steps = _mean_weight(marginals, log_block, inner), steps * _MARGINALS
    part = Part.certain(math.log(value), 1e-14 * n, "exact-dp", f"block of {n} rows", weight)
    return replace(part, operations=steps)


def _mean_weight(marginals: Array, log_block: Array, inner: Array) -> float:
    used = marginals > 0.0
    return float(np.sum(marginals[used] * (log_block[used] - inner[used])))


def _repeated(log_block: Array, inner: Array | None) -> Part | None:
    """Closed forms: nearly rank one, or few distinct rows or columns."""
    n = len(log_block)
    if np.isfinite(log_block).all():
        low, high = rank_one_interval(log_block)
        if high - low <= _RANK_ONE:
            middle, reason = (
                (low + high) / 2,
                f"{n} rows equal up to scale, to {high - low:.1e} nats",
            )
            exact = high - low <= _ROUNDING * n
            ends = (middle, middle) if exact else (low, high)
            weight = math.nan if inner is None else float((log_block - inner).sum()) / n
            return Part(middle, low, high, *ends, low, exact, "identical", reason, weight)
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
    inner: Array | None,
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

    def certified() -> tuple[float, float]:
        return (
            certify(log_block, balanced, thorough=effort.certify)
            if bounds
            else (-math.inf, math.inf)
        )

    with beside(certified, wanted=bounds and n >= _WIDE) as bounded:
        particles, count = _allocation(proposal, generator, effort)
        runs: list[float] = []
        while len(runs) < count and (len(runs) < 2 or time.perf_counter() < deadline):
            runs.append(smc.run(proposal, particles, generator).log_estimate)
        plain = np.array(runs)
        held = None
        if bounds and identity is not None:
            held = smc.conditional_run(proposal, particles, generator, identity).log_estimate
        lower, upper = bounded()
    expected_lower = smc.log_mean_exp(plain)
    expected_upper = upper if held is None else smc.log_mean_exp(np.append(plain[1:], held))
    probable = float(plain.min()) - math.log(large / effort.delta) / len(plain)
    value = min(max(expected_lower, lower), upper)
    reason = f"{n} > {effort.max_exact}, rows differ; {len(plain)} runs of {particles} particles"
    ends = (lower, upper, expected_lower, expected_upper, max(probable, lower))
    weight = math.nan
    if inner is not None and identity is not None:
        chain = swap_mcmc(
            log_block,
            steps=_SWAPS * n,
            generator=generator,
            start=identity,
            proposal=balanced.weights,
        )
        weight = _mean_weight(chain.marginals, log_block, inner)
    return Part(value, *ends, False, "smc", reason, weight, sampling_steps(n, effort))


def sampling_steps(n: int, effort: Effort) -> float:
    """Steps that sampling one block of n rows takes, what a run costs apart from its particles included."""
    return (effort.runs + 2.0) * (float(n) ** 2 * effort.particles + _RUN)


def _allocation(
    proposal: smc.Proposal, generator: np.random.Generator, effort: Effort
) -> tuple[int, int]:
    """Particles and runs: where small pilot runs agree they do; where they disagree, fewer and larger ones do best.

    The pilots are plain and thrown away: a choice that looked at the identity would spoil its being a posterior draw.
    """
    if effort.runs < _PILOTS:
        return effort.particles, effort.runs
    pilot = max(2, effort.particles // 4)
    logs = [smc.run(proposal, pilot, generator).log_estimate for _ in range(_PILOTS)]
    spread = max(logs) - min(logs)
    if spread <= _ALIKE * len(proposal.rows):
        return pilot, effort.runs
    if spread <= _AGREE:
        return effort.particles, effort.runs
    return effort.particles * effort.runs * 3 // 4, max(2, effort.runs // 4)
