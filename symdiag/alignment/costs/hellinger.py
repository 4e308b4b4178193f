"""Hellinger alignment: the Bhattacharyya distance −log ∫√(q q'), nats, which is additive over
independent weights.

The squared Hellinger distance of the whole posteriors is 1 − exp(−total): monotone in the total, so
the same alignment minimises both. Per weight, with d = μ − μ':  ¼ d²/(σ² + σ'²) + ½ log((σ² +
σ'²)/(2σσ')).
"""

from __future__ import annotations

import numpy as np

from symdiag.alignment.costs import Weights, means_and_stds, sorted_distances
from symdiag.arrays import Array

_CHUNK = 2_000_000  # pairwise entries evaluated at a time


class Bhattacharyya:
    """Bounded influence of far-off weights' stds; not bilinear, so the slowest of the costs."""

    name = "hellinger"
    unit = "nats (Bhattacharyya; squared Hellinger = 1 - exp(-x))"
    needs_width = True
    is_metric = False
    is_symmetric = True

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """−log of the Bhattacharyya coefficient of each pair."""
        (loc, scale), (loc_r, scale_r) = means_and_stds(model), means_and_stds(reference)
        pooled = scale**2 + scale_r**2
        overlap = 0.5 * np.log(pooled / (2.0 * scale * scale_r))
        return np.maximum(overlap, 0.0) + 0.25 * (loc - loc_r) ** 2 / pooled

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """Chunks of rows, evaluated pair by pair; the −½ log 2σσ' terms are sums over rows and
        columns.
        """
        (loc, scale), (loc_r, scale_r) = means_and_stds(model), means_and_stds(reference)
        rows, size = scale.shape
        variance, variance_r = scale**2, scale_r**2
        total = np.empty((len(scale_r), rows))
        step = max(1, _CHUNK // max(rows * size, 1))
        for start in range(0, len(scale_r), step):
            chosen = slice(start, start + step)
            pooled = variance_r[chosen, None, :] + variance[None]
            distance = (loc_r[chosen, None, :] - loc[None]) ** 2
            distance /= pooled
            total[chosen] = 0.25 * distance.sum(axis=2) + 0.5 * np.log(pooled, out=pooled).sum(
                axis=2
            )
        total -= (
            0.5 * np.log(scale).sum(axis=1)[None, :] + 0.5 * np.log(scale_r).sum(axis=1)[:, None]
        )
        total -= 0.5 * size * np.log(2.0)
        return np.maximum(total, 0.0, out=total)

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Sorted means at the units' largest variances, plus sorted log stds.

        With t = log σ/σ' the width term is ½ log cosh t; where a unit pair has |t| ≤ T it is at
        least κ t² with κ = ½ log cosh(T)/T², because log cosh(t)/t² decreases.
        """
        (loc, scale), (loc_r, scale_r) = means_and_stds(model), means_and_stds(reference)
        flat, flat_r = (np.log(s).reshape(len(s), -1) for s in (scale, scale_r))
        widest = np.exp(2.0 * flat.max(axis=1))[None, :] + np.exp(2.0 * flat_r.max(axis=1))[:, None]
        reach = np.maximum(
            flat_r.max(axis=1)[:, None] - flat.min(axis=1)[None, :],
            flat.max(axis=1)[None, :] - flat_r.min(axis=1)[:, None],
        )
        reach = np.maximum(np.abs(reach), 1e-3)
        curvature = 0.5 * (np.logaddexp(reach, -reach) - np.log(2.0)) / reach**2
        means = sorted_distances(loc, loc_r)
        widths = sorted_distances(np.log(scale), np.log(scale_r))
        total: Array = 0.25 * means / widest + curvature * widths
        return total


COST = Bhattacharyya()
