"""What one would use instead, each taking (matrix, generator) and giving an estimate of log perm."""

from __future__ import annotations

import importlib
import math
import time

import numpy as np

from symdiag.arrays import Array
from symdiag.permanents import smc
from symdiag.permanents.bounds.bethe import beliefs, bethe_lower
from symdiag.permanents.doubly_stochastic import round_to_doubly_stochastic, sinkhorn
from symdiag.permanents.scaling import dual_scale


def infonce(matrix: Array, generator: np.random.Generator, seconds: float) -> tuple[float, int]:
    """log n! + log (1/K)(1 + sum over K - 1 uniform permutations): the paper's estimate, K set by the clock."""
    n, count, top, total = len(matrix), 1, 0.0, 1.0
    rows, start = np.arange(n), time.perf_counter()
    batch = max(1, 20_000 // n)
    while True:
        orders = generator.permuted(np.tile(rows, (batch, 1)), axis=1)
        gains = matrix[rows, orders].sum(axis=1)
        best = max(top, float(gains.max()))
        total = total * math.exp(top - best) + float(np.exp(gains - best).sum())
        top, count = best, count + batch
        if time.perf_counter() - start >= seconds:
            return math.lgamma(n + 1) + top + math.log(total / count), count


def plain_sis(matrix: Array, generator: np.random.Generator, particles: int) -> float:
    """Sequential importance sampling: rows in index order, no look-ahead, no resampling."""
    scaled = dual_scale(matrix)
    balanced = sinkhorn(np.exp(scaled.log_scaled))
    n = len(matrix)
    proposal = smc.Proposal(
        balanced.weights,
        np.zeros((n, n)),
        np.arange(n),
        scaled.columns,
        scaled.offset + balanced.log_factor,
    )
    return smc.run(proposal, particles, generator, resample=False).log_estimate


def row_smc(matrix: Array, generator: np.random.Generator, particles: int) -> float:
    """The library's estimator, one run."""
    return smc.run(smc.prepare(matrix), particles, generator).log_estimate


def bethe(matrix: Array) -> float:
    """The Bethe permanent at belief propagation's fixed point."""
    scaled = dual_scale(matrix)
    found = sinkhorn(beliefs(sinkhorn(np.exp(scaled.log_scaled)).weights) + 1e-300, tolerance=1e-9)
    return scaled.offset + bethe_lower(scaled.log_scaled, round_to_doubly_stochastic(found.weights))


def thewalrus(matrix: Array) -> float:
    """thewalrus' BBFG after scaling rows by their largest entry; nan when it is not installed or fails."""
    try:
        perm = importlib.import_module("thewalrus").perm
    except ImportError:
        return math.nan
    top = matrix.max(axis=1)
    value = float(perm(np.exp(matrix - top[:, None]), method="bbfg"))
    return math.log(value) + float(top.sum()) if value > 0 else math.nan
