"""Symmetric Kullback-Leibler divergence KL(q‖q') + KL(q'‖q) of mean-field Gaussians, nats (Jeffreys
1946).

Per weight, with d = μ − μ':  ½ (σ/σ' − σ'/σ)² + ½ d² (1/σ² + 1/σ'²).
"""

from __future__ import annotations

import numpy as np

from symdiag.alignment.costs import Weights, means_and_stds, run_means, sorted_distances
from symdiag.arrays import Array


class SymmetricKL:
    """Weighs differences by the posterior's own precision, so confident weights decide."""

    name = "kl"
    unit = "nats"
    needs_width = True
    is_metric = False
    is_symmetric = True

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """KL in both directions, summed."""
        (loc, scale), (loc_r, scale_r) = means_and_stds(model), means_and_stds(reference)
        ratio = scale / scale_r
        widths = 0.5 * (ratio - 1.0 / ratio) ** 2
        return widths + 0.5 * (loc - loc_r) ** 2 * (scale**-2 + scale_r**-2)

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """Four feature pairs in one matrix product; the means are centred per weight first to limit
        cancellation.
        """
        (loc, scale), (loc_r, scale_r) = means_and_stds(model), means_and_stds(reference)
        centre = loc_r.mean(axis=0)
        loc, loc_r = loc - centre, loc_r - centre
        weight, weight_r = scale**-2, scale_r**-2
        left = np.hstack([0.5 * weight_r, 0.5 * (scale_r**2 + loc_r**2), -loc_r * weight_r, -loc_r])
        right = np.hstack([scale**2 + loc**2, weight, loc, loc * weight])
        total: Array = left @ right.T
        total += (0.5 * loc**2 * weight).sum(axis=1)[None, :] + (0.5 * loc_r**2 * weight_r).sum(
            axis=1
        )[:, None]
        total -= loc.shape[1]
        return np.maximum(total, 0.0, out=total)

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Sorted stds (their term is 2 sinh² of a difference of logs), sorted means at the units'
        largest variances.
        """
        (loc, scale), (loc_r, scale_r) = means_and_stds(model), means_and_stds(reference)
        widest = scale.reshape(len(scale), -1).max(axis=1) ** -2.0
        widest_r = scale_r.reshape(len(scale_r), -1).max(axis=1) ** -2.0
        total: Array = 0.5 * sorted_distances(loc, loc_r) * (widest[None, :] + widest_r[:, None])
        (logs, lengths), (logs_r, _) = run_means(np.log(scale)), run_means(np.log(scale_r))
        total += 0.5 * (lengths * np.exp(-2.0 * logs_r)) @ np.exp(2.0 * logs).T
        total += 0.5 * (lengths * np.exp(2.0 * logs_r)) @ np.exp(-2.0 * logs).T
        total -= lengths.sum()
        return np.maximum(total, 0.0, out=total)


COST = SymmetricKL()
