"""Squared 2-Wasserstein distance of mean-field Gaussians: Σ (μ − μ')² + (σ − σ')² (Rossi et al.
2023).
"""

from __future__ import annotations

from symdiag.alignment.costs import Weights, sorted_distances, squared_distances
from symdiag.arrays import Array


class SquaredWasserstein:
    """The default: means and stds in the weights' own units; deterministic weights need no special
    care.
    """

    name = "w2"
    unit = "squared weight units"
    needs_width = False
    is_metric = True
    is_symmetric = True

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """(μ − μ')² + (σ − σ')²."""
        total = (model.loc - reference.loc) ** 2
        if model.scale is not None and reference.scale is not None:
            total += (model.scale - reference.scale) ** 2
        return total

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """Two matrix products, one for the means and one for the stds."""
        total = squared_distances(model.loc, reference.loc)
        if model.scale is not None and reference.scale is not None:
            total += squared_distances(model.scale, reference.scale)
        return total

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Means and stds each in their own best order, which no common order can beat."""
        total = sorted_distances(model.loc, reference.loc)
        if model.scale is not None and reference.scale is not None:
            total += sorted_distances(model.scale, reference.scale)
        return total


COST = SquaredWasserstein()
