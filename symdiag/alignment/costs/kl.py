"""Symmetric Kullback-Leibler divergence KL(q‖q') + KL(q'‖q) of mean-field Gaussians, nats (Jeffreys 1946).

Per weight, with d = μ − μ':  ½ (σ/σ' − σ'/σ)² + ½ d² (1/σ² + 1/σ'²).
"""

from __future__ import annotations

import numpy as np

from symdiag.alignment.cost import Weights, order_statistics, squared_distances
from symdiag.posterior import Array


def _parts(weights: Weights) -> tuple[Array, Array]:
    assert weights.scale is not None, "this cost needs stds"
    return weights.loc, weights.scale


class SymmetricKL:
    """Weighs differences by the posterior's own precision, so confident weights decide."""

    name = "kl"
    unit = "nats"
    needs_width = True
    is_metric = False

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """KL in both directions, summed."""
        (loc, scale), (loc_r, scale_r) = _parts(model), _parts(reference)
        ratio = scale / scale_r
        widths = 0.5 * (ratio - 1.0 / ratio) ** 2
        return widths + 0.5 * (loc - loc_r) ** 2 * (scale**-2 + scale_r**-2)

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """Four feature pairs in one matrix product; the means are centred per weight first to limit cancellation."""
        (loc, scale), (loc_r, scale_r) = _parts(model), _parts(reference)
        centre = loc_r.mean(axis=0)
        loc, loc_r = loc - centre, loc_r - centre
        weight, weight_r = scale**-2, scale_r**-2
        left = np.hstack([0.5 * weight_r, 0.5 * (scale_r**2 + loc_r**2), -loc_r * weight_r, -loc_r])
        right = np.hstack([scale**2 + loc**2, weight, loc, loc * weight])
        total: Array = left @ right.T
        total += (0.5 * loc**2 * weight).sum(axis=1)[None, :] + (0.5 * loc_r**2 * weight_r).sum(axis=1)[:, None]
        total -= loc.shape[1]
        return np.maximum(total, 0.0, out=total)

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Sorted log stds, using ½(σ/σ' − σ'/σ)² = 2 sinh²(log σ/σ') ≥ 2 (log σ/σ')², and sorted means at each
        unit's largest variance.
        """
        (loc, scale), (loc_r, scale_r) = _parts(model), _parts(reference)
        widest = scale.reshape(len(scale), -1).max(axis=1) ** -2.0
        widest_r = scale_r.reshape(len(scale_r), -1).max(axis=1) ** -2.0
        means = squared_distances(order_statistics(loc), order_statistics(loc_r))
        widths = squared_distances(order_statistics(np.log(scale)), order_statistics(np.log(scale_r)))
        total: Array = 0.5 * means * (widest[None, :] + widest_r[:, None]) + 2.0 * widths
        return total


COST = SymmetricKL()
