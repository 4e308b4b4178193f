"""A robust slope through the origin, with what it leaves unexplained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, BoolArray

_DEGREES = 4.0  # of Student's t: heavy enough tails for weights that have not settled
_STEPS = 60
_LEAST_SCATTER = 0.03
"""Also where there is less: weights by estimated errors alone would favour estimates that came out
small, as their errors did, too."""


@dataclass(frozen=True)
class Slope:
    """y = slope·x + intercept, ``error`` and ``intercept_error`` their standard errors.

    ``scatter`` is the spread of y about the line beyond the measurement error, as a share of
    slope·x. ``informative`` counts the points that could show a scatter of a tenth.
    """

    slope: float
    error: float
    scatter: float
    informative: float
    intercept: float = 0.0
    intercept_error: float = 0.0

    @property
    def relative_error(self) -> float:
        """Standard error over slope."""
        return self.error / abs(self.slope) if self.slope else math.inf


def robust_slope(x: Array, y: Array, error: Array, *, intercept: bool = False) -> Slope | None:
    """Student-t regression by iterated weights; None for fewer points than unknowns.

    The variance of a residual is error² + (scatter · slope · x)²; the scatter is a moment estimate
    that alternates with the weights, so that weights that are less settled than others do not
    decide.
    """
    columns = np.stack([x, np.ones_like(x)], axis=1) if intercept else x[:, None]
    # y = 0 throughout: a likelihood that the outputs do not enter (a single class)
    if len(x) <= columns.shape[1] or not np.any(x) or not np.any(y):
        return None
    # relative to x, but never to zero: at x = 0 a slope shows in nothing
    size = np.abs(x) + 0.02
    error = np.maximum(error, 1e-9 * max(float(np.abs(y).max()), 1e-300))
    # from errors relative to the line, not to y: units that died have gradients of exactly 0, which
    # relative errors would take for exact measurements of a slope 0
    rough = float((x * y).sum() / (x * x).sum())
    weights = 1.0 / (error**2 + (0.2 * rough * size) ** 2)
    beta, scatter = _solve(columns, y, weights)[0], 0.1
    bread = np.zeros((len(beta), len(beta)))
    for _ in range(_STEPS):
        variance = error**2 + (scatter * beta[0] * size) ** 2
        trust = (_DEGREES + 1.0) / (_DEGREES + (y - columns @ beta) ** 2 / variance)
        weights = trust / variance
        beta, bread = _solve(columns, y, weights)
        scatter = _scatter(columns, y, error, size, beta, trust)
    residual = y - columns @ beta
    meat = columns.T @ ((weights * residual)[:, None] ** 2 * columns)
    # sandwich: valid whatever the true spread of the residuals (White 1980)
    covariance = bread @ meat @ bread
    found = np.sqrt(np.diag(covariance))
    return Slope(
        slope=float(beta[0]),
        error=float(found[0]),
        scatter=scatter,
        informative=float(_informative(error, size, beta[0]).sum()),
        intercept=float(beta[1]) if intercept else 0.0,
        intercept_error=float(found[1]) if intercept else 0.0,
    )


def _solve(columns: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    normal = columns.T @ (weights[:, None] * columns)
    bread = np.asarray(np.linalg.pinv(normal, rcond=1e-12), dtype=np.float64)
    return bread @ (columns.T @ (weights * y)), bread


def _informative(error: Array, size: Array, slope: float) -> Array:
    """Per point, in [0, 1]: whether its error is below a tenth of what the slope makes of it."""
    squared = (0.1 * slope * size) ** 2
    # a weight at the prior of which the data say nothing, exactly, tells nothing
    return squared / np.maximum(squared + error**2, 1e-300)


def _scatter(
    columns: Array, y: Array, error: Array, size: Array, beta: Array, trust: Array
) -> float:
    if beta[0] == 0.0:
        return 1.0
    weight = _informative(error, size, beta[0])
    excess = (weight * (trust * (y - columns @ beta) ** 2 - error**2)).sum()
    expected = (weight * (beta[0] * size) ** 2).sum()
    return math.sqrt(max(excess / max(expected, 1e-300), _LEAST_SCATTER**2))


def natural_slope(x: Array, y: Array, error: Array) -> Slope | None:
    """Least squares with one spread for all points: in the natural metric of a Gaussian.

    For log stds the Fisher information is the same for every weight (2), so the distance from
    stationarity is Σ (y − slope·x)², whatever x.
    """
    power = float((x**2).sum())
    if len(x) < 2 or power == 0.0 or not np.any(y):
        return None
    slope, spread = float((x * y).sum()) / power, 0.0
    weights = np.ones_like(x)
    for _ in range(5):
        # the moment estimate of the spread in excess of the measurement errors
        excess = float((weights * ((y - slope * x) ** 2 - error**2)).sum() / weights.sum())
        spread = max(excess, (_LEAST_SCATTER * slope) ** 2 * power / len(x))
        weights = 1.0 / (error**2 + spread + 1e-300)
        slope = float((weights * x * y).sum() / (weights * x**2).sum())
    pull = weights * x * (y - slope * x)
    found = math.sqrt(float((pull**2).sum())) / float((weights * x**2).sum())
    relative = math.sqrt(spread / (power / len(x))) / abs(slope) if slope else math.inf
    return Slope(slope, found, relative, float(_informative(error, np.abs(x), slope).sum()))


def explained(x: Array, y: Array, error: Array, slope: float) -> float:
    """R² about zero: the share of Σ y² (less its Monte Carlo error) that slope·x accounts for."""
    noise = float((error**2).sum())
    total = float((y**2).sum()) - noise
    left = max(0.0, float(((y - slope * x) ** 2).sum()) - noise)
    return 1.0 - left / total if total > 0 else 0.0


def halves(count: int, seed: int) -> BoolArray:
    """A random half of ``count`` points."""
    chosen = np.zeros(count, dtype=bool)
    chosen[np.random.default_rng([seed, 32]).permutation(count)[: count // 2]] = True
    return chosen
