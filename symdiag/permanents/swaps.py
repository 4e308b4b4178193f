"""The one Metropolis chain: swaps on permutations, stationary law proportional to prod_i A_{i,
pi(i)}.

Started at the identity under omega ~ q it starts stationary (the identity is an exact draw of the
permutation given omega, up to relabelling), so every state is an exact, correlated draw: it needs
only to forget *which* draw it started from, which is what the burn-in is for. An average of
permutation matrices is doubly stochastic by construction, hence good for the Bethe functional.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, IntArray, SeedArray
from symdiag.permanents.swap_loops import swap_loop


@dataclass(frozen=True)
class Chain:
    """Result of a swap chain.

    Attributes:
        permutation: (n,) final state, row -> column.
        marginals: (n, n) share of time after burn-in that row i held column j.
        acceptance: share of proposals accepted.
    """

    permutation: IntArray
    marginals: Array
    acceptance: float


def swap_chain(
    log_weights: Array,
    *,
    steps: int,
    generator: np.random.Generator | SeedArray,
    start: IntArray | None = None,
    burn: int | None = None,
    proposal: Array | None = None,
    partners: IntArray | None = None,
) -> Chain:
    """Metropolis swaps on one (n, n) log-weight matrix.

    Args:
        log_weights: (n, n), -inf forbids.
        steps: proposals made.
        generator: seeds the chain; or its seed (1,).
        start: (n,) first state, of positive weight; the identity when None.
        burn: steps left out of the marginals; a tenth when None.
        proposal: (n, n) positive weights to propose row i -> column j by, Sinkhorn marginals best;
            None proposes every pair of rows alike, which is cheaper and mixes where many swaps do.
        partners: (n, L) rows to swap each row with (``partner_table``), instead of ``proposal``.
    """
    n = len(log_weights)
    state = np.arange(n) if start is None else np.array(start, dtype=np.int64)
    occupation = np.zeros((n, n))
    # the loop draws a second row, of which a single one leaves none
    if n == 1:
        return Chain(state, np.ones((1, 1)), 0.0)
    skip = steps // 10 if burn is None else burn
    weights = np.empty((0, n)) if proposal is None else proposal
    seed = chain_seeds(generator, 1)[0]
    running = np.cumsum(weights, axis=1)
    matrix = np.ascontiguousarray(log_weights)
    lists = np.empty((n, 0), dtype=np.int64) if partners is None else partners
    accepted = swap_loop(matrix, running, weights, lists, seed, steps, skip, state, occupation)
    return Chain(state, occupation / max(steps - skip, 1), accepted / max(steps, 1))


def chain_seeds(generator: np.random.Generator | SeedArray, count: int) -> SeedArray:
    """Seeds of ``count`` chains, drawn from a generator or given already."""
    if isinstance(generator, np.random.Generator):
        return np.asarray(generator.integers(1, 1 << 63, size=count), dtype=np.uint64)
    return generator


def swap_marginals(
    log_weights: Array,
    generator: np.random.Generator | SeedArray,
    *,
    steps: int | None = None,
    partners: IntArray | None = None,
) -> Array:
    """Doubly stochastic estimates (B, n, n) of P(π(i) = j) ∝ Π exp A[i, π(i)], for training.

    Args:
        log_weights: (B, n, n) relative log densities with the identity typical (ω ~ q); −inf
            forbids.
        generator: Seeds the chains; or their seeds (B,).
        steps: Proposed swaps per matrix, half of which are burn-in; default ``default_steps(n)``.
        partners: (n, L) rows to propose each row's swaps with; every pair alike when None.
    """
    wanted = steps or default_steps(log_weights.shape[1])
    seeds = chain_seeds(generator, len(log_weights))[:, None]
    chains = [
        swap_chain(matrix, steps=wanted, generator=seed, burn=wanted // 2, partners=partners)
        for matrix, seed in zip(log_weights, seeds, strict=True)
    ]
    return np.array([chain.marginals for chain in chains]).reshape(log_weights.shape)


def default_steps(width: int) -> int:
    """Proposals per matrix: every pair is offered a swap twice (once after burn-in), narrow more."""
    return max(1600, width * width)
