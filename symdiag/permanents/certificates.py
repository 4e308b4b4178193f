"""Deterministic bounds on large blocks, cheapest first; the best of each side is kept."""

from __future__ import annotations

import math

import numpy as np

from symdiag.permanents.identical import rank_one_interval
from symdiag.permanents.sinkhorn import DoublyStochastic
from symdiag.permanents.types import Array


def certify(log_block: Array, balanced: DoublyStochastic, *, thorough: bool) -> tuple[float, float]:
    """(lower, upper) on log perm of one (n, n) dual-scaled block, nats."""
    n = len(log_block)
    lower, upper = float(np.diagonal(log_block).sum()), math.lgamma(n + 1)
    if np.isfinite(log_block).all():
        low, high = rank_one_interval(log_block)
        lower, upper = max(lower, low), min(upper, high)
    return lower, upper
