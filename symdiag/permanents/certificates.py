"""Deterministic bounds on large blocks, cheapest first; the best of each side is kept."""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents.bethe import beliefs
from symdiag.permanents.bregman import bregman_upper
from symdiag.permanents.identical import rank_one_interval
from symdiag.permanents.rounding import (
    bethe_lower,
    round_to_doubly_stochastic,
    van_der_waerden_lower,
)
from symdiag.permanents.sinkhorn import DoublyStochastic, sinkhorn

_WIDE = 2048  # beyond this one step of the entropy bound has to do
_NARROW = 1e-3  # of log n!: cheap bounds this close are not refined


def certify(log_block: Array, balanced: DoublyStochastic, *, thorough: bool) -> tuple[float, float]:
    """(lower, upper) on log perm of one (n, n) dual-scaled block, nats."""
    n = len(log_block)
    largest = math.lgamma(n + 1)
    finite = bool(np.isfinite(log_block).all())
    sweeps = 3 if n <= _WIDE else 1
    lower, upper = float(np.diagonal(log_block).sum()), largest + 1e-9
    if finite:
        low, high = rank_one_interval(log_block)
        weights = round_to_doubly_stochastic(balanced.weights)
        lower = max(
            lower, low, van_der_waerden_lower(log_block, weights), bethe_lower(log_block, weights)
        )
        upper = min(upper, high)
    upper = min(upper, bregman_upper(log_block, balanced.weights, sweeps=sweeps, refine=0))
    if not thorough or upper - lower <= _NARROW * largest:
        return lower, upper
    if finite:
        found = sinkhorn(
            beliefs(balanced.weights, tolerance=1e-4, sweeps=40) + 1e-300, tolerance=1e-7
        )
        lower = max(lower, bethe_lower(log_block, round_to_doubly_stochastic(found.weights)))
    return lower, min(upper, bregman_upper(log_block, balanced.weights, sweeps=1, refine=3))
