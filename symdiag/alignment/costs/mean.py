"""Squared distance of the means alone, as the point-weight matchers use; blind to the stds."""

from __future__ import annotations

from symdiag.alignment.costs import Weights, sorted_distances, squared_distances
from symdiag.arrays import Array


class SquaredMeans:
    """For comparison with tools that match point weights."""

    name = "mean"
    unit = "squared weight units"
    needs_width = False
    is_metric = True
    is_symmetric = True

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """(μ − μ')²."""
        return (model.loc - reference.loc) ** 2

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """One matrix product."""
        return squared_distances(model.loc, reference.loc)

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Sorted means."""
        return sorted_distances(model.loc, reference.loc)


COST = SquaredMeans()
