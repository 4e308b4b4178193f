"""What an alignment cost must provide, and the sums that several costs are made of.

A cost is a sum over weights of a non-negative dissimilarity of two one-dimensional Gaussians, so
that a group's cost matrix is a sum over tensors and one Hungarian assignment solves a group exactly
(the others held fixed).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from symdiag.arrays import Array

_QUANTILES = 64


class Weights(NamedTuple):
    """Means and stds of the same shape; ``scale`` is None when it takes no part (all weights
    deterministic).
    """

    loc: Array
    scale: Array | None

    def flipped(self) -> Weights:
        """The weights of the sign-flipped unit: means negated, stds as they are."""
        return Weights(-self.loc, self.scale)


class Cost(Protocol):
    """One dissimilarity of mean-field Gaussians, additive over weights.

    ``needs_width`` asks for stds > 0 everywhere (deterministic weights are then given the smallest
    positive std of the two posteriors). ``is_metric`` says that the square root of the total is a
    metric on posteriors, ``is_symmetric`` that model and reference may change places.
    """

    name: str
    unit: str
    needs_width: bool
    is_metric: bool
    is_symmetric: bool

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """Dissimilarity of weights at the same position; any one shape."""
        ...

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """Blocks (n, d) each → (n, n): row i is reference unit i, column j is model unit j."""
        ...

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Blocks (n, u, f) each → (n, n) lower bounds on ``pairwise`` over all reorderings of the
        model's axis 1.
        """
        ...


def squared_distances(model: Array, reference: Array) -> Array:
    """Squared Euclidean distances of rows, (n, d) each → (n, n), by one matrix product."""
    product: Array = reference @ model.T
    product *= -2.0
    product += np.einsum("ij,ij->i", model, model)[None, :]
    product += np.einsum("ij,ij->i", reference, reference)[:, None]
    return np.maximum(product, 0.0, out=product)


def run_means(values: Array) -> tuple[Array, Array]:
    """Axis 1 sorted and averaged over at most 64 runs: (n, u, f) → (n, k·f), and the k·f lengths of
    the runs.

    For a convex cost of differences on the line, sorted order is the best matching (rearrangement
    inequality) and averaging runs only lowers it (Jensen): Σ length · cost(means) bounds every
    reordering from below.
    """
    ordered = np.sort(values, axis=1)
    size, features = ordered.shape[1:]
    starts = np.unique(np.linspace(0, size, min(size, _QUANTILES), endpoint=False).astype(np.intp))
    lengths = np.diff(np.append(starts, size)).astype(np.float64)
    if len(starts) < size:
        ordered = np.add.reduceat(ordered, starts, axis=1) / lengths[None, :, None]
    return ordered.reshape(len(ordered), -1), np.repeat(lengths, features)


def sorted_distances(model: Array, reference: Array) -> Array:
    """Lower bounds (n, n) on squared distances of rows (n, u, f) over all reorderings of axis 1."""
    (means, lengths), (means_r, _) = run_means(model), run_means(reference)
    weight = np.sqrt(lengths)
    return squared_distances(means * weight, means_r * weight)


def means_and_stds(weights: Weights) -> tuple[Array, Array]:
    """Both parts of weights that have stds, as costs between Gaussians want them."""
    assert weights.scale is not None, "this cost needs stds"
    return weights.loc, weights.scale
