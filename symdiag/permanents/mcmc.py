"""Swap Markov chains on permutations with stationary law proportional to prod_i A_{i, pi(i)}.

Started at the identity under omega ~ q they start stationary (the identity is an exact posterior draw), so every
state is an exact, correlated draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.permanents.kernels import compiled
from symdiag.permanents.scaling import dual_scale
from symdiag.permanents.sinkhorn import sinkhorn


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


def swap_mcmc(
    log_weights: Array,
    *,
    steps: int,
    generator: np.random.Generator,
    start: IntArray | None = None,
    burn: int | None = None,
    proposal: Array | None = None,
) -> Chain:
    """Metropolis swaps proposed from Sinkhorn marginals on one (n, n) log-weight matrix.

    Args:
        log_weights: (n, n), -inf allowed.
        steps: proposals made.
        generator: source of all randomness.
        start: (n,) first state, of positive weight; the identity when None.
        burn: steps left out of the marginals; a tenth when None.
        proposal: (n, n) positive weights to propose row i -> column j by; Sinkhorn marginals when None.
    """
    n = len(log_weights)
    state = np.arange(n) if start is None else np.array(start, dtype=np.int64)
    if proposal is None:
        scaled = dual_scale(log_weights)
        balanced = sinkhorn(np.exp(scaled.log_scaled), tolerance=1e-2, sweeps=30).weights
        proposal = np.empty_like(balanced)
        proposal[:, scaled.columns] = balanced
    cumulative = np.cumsum(proposal, axis=1)
    occupation = np.zeros((n, n))
    skip = steps // 10 if burn is None else burn
    loop = compiled("swap_chain") or _numpy_chain
    accepted = loop(
        np.ascontiguousarray(log_weights),
        cumulative,
        proposal,
        generator.random((steps, 3)),
        state,
        occupation,
        skip,
    )
    return Chain(state, occupation / max(steps - skip, 1), accepted / max(steps, 1))


def _numpy_chain(
    log_weights: Array,
    cumulative: Array,
    proposal: Array,
    uniforms: Array,
    state: IntArray,
    occupation: Array,
    burn: int,
) -> int:
    """``loops.swap_chain`` without compilation: the same steps from the same uniforms."""
    n, steps = len(state), len(uniforms)
    holder = np.empty(n, dtype=np.int64)
    holder[state] = np.arange(n)
    since = np.full(n, burn)
    rows = (uniforms[:, 0] * n).astype(np.int64)
    accepted = 0
    for t in range(steps):
        i = rows[t]
        j = min(
            int(np.searchsorted(cumulative[i], uniforms[t, 1] * cumulative[i, -1], side="right")),
            n - 1,
        )
        k, c = holder[j], state[i]
        if k == i:
            continue
        gain = log_weights[i, j] + log_weights[k, c] - log_weights[i, c] - log_weights[k, j]
        forth = proposal[i, j] + proposal[k, c]
        back = proposal[i, c] + proposal[k, j]
        if uniforms[t, 2] * forth >= np.exp(min(gain, 700.0)) * back:
            continue
        accepted += 1
        if t >= burn:
            occupation[i, c] += t - since[i]
            occupation[k, j] += t - since[k]
            since[[i, k]] = t
        state[i], state[k] = j, c
        holder[j], holder[c] = i, k
    occupation[np.arange(n), state] += np.maximum(steps - since, 0)
    return accepted
