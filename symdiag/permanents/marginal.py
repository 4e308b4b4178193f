"""Permanental marginals P_ij = d log perm / d log A_ij = chance that row i holds column j."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.errors import UsageError
from symdiag.permanents.bounds.bethe import beliefs
from symdiag.permanents.doubly_stochastic import sinkhorn
from symdiag.permanents.exact import scaled_permanent
from symdiag.permanents.planner import check, split
from symdiag.permanents.results import DEFAULT, Effort, Marginals
from symdiag.permanents.swaps import swap_chain
from symdiag.permanents.threads import per_matrix

Method = Literal["auto", "exact", "bethe", "mcmc"]
_FLAT = 0.2  # below this largest Sinkhorn marginal Bethe errs less than any affordable chain


def marginals(
    log_weights: Array,
    *,
    generator: np.random.Generator,
    method: Method = "auto",
    effort: Effort = DEFAULT,
) -> Marginals:
    """Marginals of each matrix; P is 0 where the permanent is zero.

    Args:
        log_weights: (B, n, n), -inf allowed.
        generator: source of all randomness.
        method: for blocks above ``effort.max_exact``: ``bethe`` (deterministic, biased), ``mcmc``
            (swap chain from the identity, unbiased when that is a posterior draw), ``auto`` (by
            regime), ``exact`` (refuse to approximate).
        effort: ``max_exact`` and ``particles`` (chain length is ``particles`` times n swaps) matter
            here.

    Raises:
        UsageError: wrong shape or method, or ``exact`` with a block that is too large.
    """
    matrices = check(log_weights)
    if method not in get_args(Method):
        raise UsageError(
            f"unknown marginals method {method!r}", hint=f"one of {', '.join(get_args(Method))}"
        )
    results = per_matrix(
        lambda matrix, child: _one(matrix, child, method, effort), matrices, generator
    )
    return Marginals(
        probabilities=np.array([p for p, _ in results]).reshape(matrices.shape),
        exact=np.array([used == "exact" for _, used in results], dtype=np.bool_),
        method=tuple(used for _, used in results),
    )


def _one(
    matrix: Array, generator: np.random.Generator, method: Method, effort: Effort
) -> tuple[Array, str]:
    n = len(matrix)
    result = np.zeros((n, n))
    found = split(matrix, effort)
    if not math.isfinite(found.scaled.offset):
        return result, "exact"
    used = {"exact"}
    for block in found.structure.blocks:
        log_block = found.block(block)
        if len(block) <= effort.max_exact:
            _, local = scaled_permanent(np.exp(log_block), with_marginals=True)
        else:
            start = found.identity_in(block)
            local, how = _large(log_block, start, generator, method, effort)
            used.add(how)
        # scaling leaves the law of permutations alone: only the columns were put in another order
        result[np.ix_(block, found.scaled.columns[block])] = local
    return result, "+".join(sorted(used - {"exact"})) or "exact"


def _large(
    log_block: Array,
    start: IntArray | None,
    generator: np.random.Generator,
    method: Method,
    effort: Effort,
) -> tuple[Array, str]:
    if method == "exact":
        raise UsageError(
            f"a block of {len(log_block)} neurons is too large for exact marginals",
            hint="allow method 'auto', or raise max_exact (up to 24)",
        )
    balanced = sinkhorn(np.exp(log_block), tolerance=1e-3).weights
    # without a draw to start from, what bias a short chain has is not known
    if method == "bethe" or (method == "auto" and (start is None or float(balanced.max()) < _FLAT)):
        return beliefs(balanced), "bethe"
    chain = swap_chain(
        log_block,
        steps=effort.particles * len(log_block),
        generator=generator,
        start=start,
        proposal=balanced,
    )
    return chain.marginals, "mcmc"
