"""Sequential Monte Carlo over rows: unbiased estimates of the permanent, and a proposal over
permutations.

Rows take a free column each, in ascending order of the entropy of their Sinkhorn marginals (the
order is decisive). After row t a partial assignment with free columns F is weighted by the
look-ahead ``prod_{j in F} h_tj``, ``h_tj`` the column mass left for later rows: row t picks j with
probability proportional to ``odds_tj = B_tj / h_tj`` over F, and the weight grows by ``sum_F odds_t
* prod_F h_t / h_{t-1}``. Any positive h leaves the estimate unbiased. The products telescope: what
  a path contributes is h at its picks, and h over the columns still free wherever weights are
  compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.permanents.doubly_stochastic import DoublyStochastic, sinkhorn
from symdiag.permanents.loops import advance
from symdiag.permanents.scaling import dual_scale

_FLOOR = -200.0  # keeps the odds representable; look-ahead below e^-200 carries no information
_CHECKS = 128  # times per run that weights are compared, about
_UNDERFLOW = -600.0  # log weight above which exp leaves all digits and room for sums
_RESAMPLE_BELOW = 0.5  # effective sample size, as a share of the particles


@dataclass(frozen=True)
class Proposal:
    """Everything row SMC needs of one matrix, prepared once.

    Attributes:
        odds: (n, n) in sampling order of the rows.
        log_h: (n, n) log look-ahead after each row; 0 before the first.
        rows: (n,) original row sampled at step t.
        columns: (n,) original column at position j.
        offset: log weight to add to every log Z-hat, nats.
    """

    odds: Array
    log_h: Array
    rows: IntArray
    columns: IntArray
    offset: float

    def to_choices(self, permutations: IntArray) -> IntArray:
        """(num, n) original permutations (row -> column) as (n, num) choices in sampling order."""
        position = np.empty_like(self.columns)
        position[self.columns] = np.arange(len(self.columns))
        return np.ascontiguousarray(
            position[np.asarray(permutations, dtype=np.int64)[:, self.rows]].T
        )

    def to_permutations(self, choices: IntArray) -> IntArray:
        """Inverse of ``to_choices``."""
        result = np.empty(choices.T.shape, dtype=np.int64)
        result[:, self.rows] = self.columns[choices.T]
        return result


@dataclass(frozen=True)
class Run:
    """One SMC run: its log Z-hat (nats, offset included) and its particles.

    ``choices`` and ``ancestors`` are (n, K); ``log_weight`` (K,) holds the weights since the last
    resampling and ``log_proposal`` (K,) the log probability of each particle's own choices
    (meaningful without resampling only).
    """

    log_estimate: float
    choices: IntArray
    ancestors: IntArray
    log_weight: Array
    log_proposal: Array


def prepare(log_weights: Array) -> Proposal:
    """Proposal for one (n, n) log-weight matrix with a nonzero permanent."""
    scaled = dual_scale(log_weights)
    balanced = sinkhorn(np.exp(scaled.log_scaled))
    return prepare_scaled(balanced, scaled.offset, scaled.columns)


def prepare_scaled(balanced: DoublyStochastic, offset: float, columns: IntArray) -> Proposal:
    """Proposal from an already balanced matrix; ``columns`` are the original columns of its
    positions.
    """
    weights = balanced.weights
    rows = np.argsort(_entropies(weights), kind="stable").astype(np.int64)
    odds = weights[rows]
    left = np.empty_like(odds)  # column mass of the rows after each
    left[-1] = 0.0
    np.cumsum(odds[:0:-1], axis=0, out=left[-2::-1])
    start = np.log(np.maximum(left[0] + odds[0], 1e-300))
    for t in range(len(rows)):  # row by row: no temporaries beyond the cache
        log_h = np.log(np.maximum(left[t], 1e-300)) - start
        left[t] = np.maximum(log_h, _FLOOR)
        odds[t] *= np.exp(-left[t])
    return Proposal(odds, left, rows, columns, offset + balanced.log_factor)


def typical_log_permanents(
    log_weights: Array, generator: np.random.Generator, particles: int = 32
) -> Array:
    """log Z-hat (B,) of (B, n, n) log weights with the identity typical: E of it <= log perm, nats.

    For values to watch in passing: one small run each, no bounds. Where the identity is a posterior
    draw, scaling by row and column maxima keeps it far from underflow and no assignment is solved.
    """
    values = []
    for matrix in log_weights:
        rows = matrix.max(axis=1, keepdims=True)
        scaled = matrix - rows
        columns = scaled.max(axis=0)
        scaled -= columns
        if np.diagonal(scaled).min(initial=0.0) > _UNDERFLOW:
            offset = float(rows.sum() + columns.sum())
            proposal = prepare_scaled(sinkhorn(np.exp(scaled)), offset, np.arange(len(matrix)))
        else:
            proposal = prepare(matrix)
        values.append(run(proposal, particles, generator).log_estimate)
    return np.array(values)


def _entropies(weights: Array) -> Array:
    return np.array([-float(row @ np.log(np.maximum(row, 1e-300))) for row in weights])


def run(
    proposal: Proposal,
    particles: int,
    generator: np.random.Generator,
    *,
    forced: IntArray | None = None,
    resample: bool = True,
) -> Run:
    """One run. ``forced`` (n, F) fixes the choices of the first F particles.

    With F = 1 and that choice a posterior draw, this is conditional SMC: E log estimate >= log perm
    (systematic resampling conditioned on the retained particle, the others in random order).
    """
    n = len(proposal.rows)
    forced = np.zeros((n, 0), dtype=np.int64) if forced is None else np.ascontiguousarray(forced)
    uniforms = generator.random((n, particles))
    choices = np.zeros((n, particles), dtype=np.int64)
    ancestors = np.full((n, particles), -1, dtype=np.int64)
    free = np.ones((particles, n), dtype=np.uint8)
    log_proposal, log_weight, settled = (
        np.zeros(particles),
        np.zeros(particles),
        np.zeros(particles),
    )
    log_z, stride = 0.0, max(1, n // _CHECKS) if resample else n
    for t in range(0, n, stride):
        rows = slice(t, min(t + stride, n))
        odds, log_h = proposal.odds[rows], proposal.log_h[rows]
        advance(
            free, odds, log_h, uniforms[rows], forced[rows], choices[rows], log_weight, log_proposal
        )
        if rows.stop == n:
            break
        # (K,): log look-ahead over the columns that each particle still has free
        ahead = free @ log_h[-1]
        chosen = _resample(log_weight - settled + ahead, generator, bool(forced.shape[1]))
        if chosen is not None:
            ancestors[rows.stop - 1], gained = chosen
            free, settled = free[ancestors[rows.stop - 1]], ahead[ancestors[rows.stop - 1]]
            log_weight[:] = 0.0
            log_z += gained
    # taken back: look-ahead granted at the last resampling, for columns that are free no more
    log_weight -= settled
    return Run(
        proposal.offset + log_z + log_mean_exp(log_weight),
        choices,
        ancestors,
        log_weight,
        log_proposal,
    )


def conditional_run(
    proposal: Proposal, particles: int, generator: np.random.Generator, retained: IntArray
) -> Run:
    """Conditional SMC that keeps the permutation ``retained`` (n,), an exact draw from the
    permanent's law.
    """
    return run(proposal, particles, generator, forced=proposal.to_choices(retained[None, :]))


def log_mean_exp(values: Array) -> float:
    """log of the mean of exp(values); -inf when all are."""
    top = float(values.max(initial=-np.inf))
    return top if not np.isfinite(top) else top + float(np.log(np.mean(np.exp(values - top))))


def sample_assignments(
    log_weights: Array, num: int, generator: np.random.Generator
) -> tuple[IntArray, Array]:
    """Permutations (num, n) (row -> column) by sequential importance sampling, and log tau(pi | A)
    (num,).

    A particle that ran into a dead end has log probability -inf and is not a permutation of
    positive weight.
    """
    return draw(prepare(log_weights), num, generator)


def draw(proposal: Proposal, num: int, generator: np.random.Generator) -> tuple[IntArray, Array]:
    """``sample_assignments`` from a prepared proposal."""
    result = run(proposal, num, generator, resample=False)
    return proposal.to_permutations(result.choices), result.log_proposal


def assignment_log_prob(log_weights: Array, permutations: IntArray) -> Array:
    """log tau(pi | A) (num,) of given permutations (num, n) under ``sample_assignments``."""
    return log_prob(prepare(log_weights), permutations)


def log_prob(proposal: Proposal, permutations: IntArray) -> Array:
    """``assignment_log_prob`` from a prepared proposal."""
    forced = proposal.to_choices(permutations)
    return run(
        proposal, forced.shape[1], np.random.default_rng(0), forced=forced, resample=False
    ).log_proposal


def _resample(
    log_weights: Array, generator: np.random.Generator, keep: bool
) -> tuple[IntArray, float] | None:
    """Ancestors (K,) and the log mean weight, or None while the weights are even enough.

    Systematic; survivors keep their slot. With ``keep`` particle 0 survives: it is laid out first,
    the others in random order, and the shift is drawn given that it was chosen.
    """
    particles = len(log_weights)
    top = float(log_weights.max())
    if top == -np.inf:
        return np.arange(particles), -np.inf
    weight = np.exp(log_weights - top)
    mass = float(weight.sum())
    # effective sample size, (Σ w)² / Σ w²
    if mass * mass >= _RESAMPLE_BELOW * particles * float(weight @ weight):
        return None
    expected = weight * (particles / mass)
    order = np.arange(particles)
    shift = float(generator.random())
    if keep:
        order[1:] = generator.permutation(order[1:])
        shift = size_biased_shift(float(expected[0]), shift, float(generator.random()))
    after = np.ceil(np.cumsum(expected[order]) - shift).astype(np.int64)
    # rounding of the running sum may neither lose a particle nor add one
    after[-1] = particles
    after = np.maximum.accumulate(np.clip(after, 0, particles))
    offspring = np.empty(particles, dtype=np.int64)
    offspring[order] = np.diff(after, prepend=0)
    if keep and offspring[0] == 0:  # rounding only: the retained particle always has offspring
        offspring[np.argmax(offspring > 0)] -= 1
        offspring[0] = 1
    # offspring add up to K, so there are as many slots without any as surplus copies
    ancestors = np.arange(particles)
    ancestors[offspring == 0] = np.repeat(ancestors, np.maximum(offspring - 1, 0))
    return ancestors, top + float(np.log(mass / particles))


def size_biased_shift(expected: float, uniform: float, chooser: float) -> float:
    """Shift of systematic resampling given that a particle with ``expected`` offspring, placed
    first, was chosen.

    Its offspring number is floor + 1 for shifts below the fractional part and floor above; the
    shift's density is proportional to that number.
    """
    whole = float(np.floor(expected))
    part = expected - whole
    heavy = part * (whole + 1.0)
    if chooser * (heavy + (1.0 - part) * whole) < heavy:
        return uniform * part
    return part + uniform * (1.0 - part)
