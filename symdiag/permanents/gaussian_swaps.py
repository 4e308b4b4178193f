"""The swap chain on permanents of Gaussian densities, without ever forming the matrix.

Entries are A[i, j] = log q_i(x_j): slot i, a diagonal Gaussian, at unit j's draw; with sign flips
log(q_i(x_j) + q_i(−x_j)). A chain of swaps looks at four entries a step, of D terms each, and the
gradient of log perm wants only moments (P x)_i and (P x²)_i of what a slot holds. So nothing of
size n × n is needed but the table of partners, which is renewed now and then: memory and time go
with n D and with the swaps that are worth proposing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, IntArray, SeedArray
from symdiag.permanents.swap_loops import gaussian_swap_loop
from symdiag.permanents.swaps import chain_seeds

PARTNERS = 64
"""Entries of a slot's list of partners: shares are kept to 1 in 64."""

_UNIFORM = 0.1  # share of the proposals that go to any partner, so that every swap stays possible
_HARDLY = 1e-12  # chance of any swap below which a slot's partners are not worth telling apart
_BURN = 0.6  # of the proposals: the first thing a short chain needs is to forget the identity
_LEAST_PER_SLOT = 30
_SHARE_OF_PAIRS = 0.25


@dataclass(frozen=True)
class GaussianSlots:
    """Slots as natural parameters, float64 and C-contiguous.

    Attributes:
        weighted: (n, D) μ/σ²; columns that a sign flip negates come first.
        half_precision: (n, D) 1/(2σ²).
        constant: (n,) −Σ μ²/(2σ²) − Σ log σ.
        flips: how many columns a flip negates; None without sign flips.
    """

    weighted: Array
    half_precision: Array
    constant: Array
    flips: int | None


@dataclass(frozen=True)
class SwapMoments:
    """What the chain saw, averaged over its steps after burn-in.

    P is the share of time that slot i held unit j; where a flip negates a column, P weighs the two
    signs by their densities and enters with the difference of their shares.

    Attributes:
        first: (n, D) mean over draws of P x.
        second: (n, D) mean over draws of P x².
        weighted: (S, n, D) Pᵀ (μ/σ²) for every draw.
        half_precision: (S, n, D) Pᵀ 1/(2σ²).
    """

    first: Array
    second: Array
    weighted: Array
    half_precision: Array


def default_proposals(width: int) -> int:
    """Swaps proposed per draw: a quarter of the pairs, 30 a slot at least.

    With partners by odds the gradient is then short of a long chain's by a few per cent at 500
    units, where uniform proposals need four times as many (docs/retraining.md, 'Gradients').
    """
    return max(_LEAST_PER_SLOT * width, round(_SHARE_OF_PAIRS * width * width))


def partner_table(log_weights: Array, generator: np.random.Generator) -> IntArray:
    """Partners to propose swaps with, (n, ``PARTNERS``): row i lists k as often as swaps succeed.

    Proposing rows i and k with odds that do not look at the state leaves the swap chain's law
    alone, whatever the odds: they decide only how fast it mixes. Here they follow the chance
    min(1, A_ik A_ki / (A_ii A_kk)) that the swap is accepted at the identity.

    Args:
        log_weights: (B, n, n) relative log densities of some draws; −inf forbids.
        generator: Shifts the quantiles at which the odds are read off.
    """
    n = log_weights.shape[1]
    odds = np.zeros((n, n))
    for matrix in log_weights:
        own = np.diagonal(matrix)
        with np.errstate(invalid="ignore"):  # −inf − −inf: a pair forbidden both ways
            gain = matrix + matrix.T - own[:, None] - own[None, :]
        odds += np.exp(np.minimum(np.where(np.isnan(gain), -np.inf, gain), 0.0))
    np.fill_diagonal(odds, 0.0)
    total = odds.sum(axis=1, keepdims=True)
    # a slot that no swap succeeds with is left to the uniform share, before its odds underflow
    odds *= np.where(total > _HARDLY, (1.0 - _UNIFORM) / np.maximum(total, _HARDLY), 0.0)
    # what is missing of 1 (all of it where no swap ever succeeds) goes to every partner alike
    odds += (1.0 - odds.sum(axis=1, keepdims=True)) / (n - 1)
    np.fill_diagonal(odds, 0.0)
    running = np.cumsum(odds, axis=1)
    # stratified quantiles: every share is met to within one entry
    levels = (np.arange(PARTNERS) + generator.random((n, PARTNERS))) / PARTNERS
    picks = [
        np.searchsorted(row, level * row[-1]) for row, level in zip(running, levels, strict=True)
    ]
    table = np.minimum(np.array(picks, dtype=np.int64), n - 1)
    # rounding at the end of a row may point at the slot itself: any other will do
    fixed: IntArray = np.where(table == np.arange(n)[:, None], (table + 1) % n, table)
    return fixed


def swap_moments(
    slots: GaussianSlots,
    draws: Array,
    partners: IntArray,
    generator: np.random.Generator | SeedArray,
    *,
    proposals: int | None = None,
) -> SwapMoments:
    """Moments of what the slots hold under P(π | ω) ∝ Π q_i(x_π(i)), by one chain a draw.

    Each chain starts at the identity, an exact draw of π given ω ~ q up to relabelling: its bias is
    what it still remembers of *which* draw it started from.

    Args:
        slots: The n slots.
        draws: (S, n, D) the units' draws, columns as in ``slots``.
        partners: (n, L) as ``partner_table`` makes them.
        generator: Seeds the chains; or their seeds (S,).
        proposals: Swaps proposed per draw, 60 % of them burn-in; default ``default_proposals(n)``.
    """
    count, n, size = draws.shape
    steps = proposals or default_proposals(n)
    found = SwapMoments(
        np.zeros((n, size)), np.zeros((n, size)), np.zeros(draws.shape), np.zeros(draws.shape)
    )
    burn = int(_BURN * steps)
    gaussian_swap_loop(
        slots.weighted,
        slots.half_precision,
        slots.constant,
        -1 if slots.flips is None else slots.flips,
        np.ascontiguousarray(draws),
        partners,
        chain_seeds(generator, count),
        steps,
        burn,
        found.first,
        found.second,
        found.weighted,
        found.half_precision,
    )
    kept = 1.0 / (steps - burn)
    return SwapMoments(
        found.first * (kept / count),
        found.second * (kept / count),
        found.weighted * kept,
        found.half_precision * kept,
    )
