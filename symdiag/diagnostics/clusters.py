"""Clusters: sets of units that exchange labels with each other under the posterior."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from symdiag.diagnostics.model import Cluster
from symdiag.estimators import SlotDensity
from symdiag.permanents import DEFAULT, Effort, log_permanent
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group

LINK = 0.05
"""Two units belong together when one takes the other's place with at least this probability."""


def components(confusion: NDArray[np.float64]) -> list[tuple[int, ...]]:
    """Connected sets of two or more units, largest first, from P(π(i) = j | ω), (n, n)."""
    linked = np.maximum(confusion, confusion.T) >= LINK
    np.fill_diagonal(linked, True)
    count, labels = connected_components(csr_matrix(linked.astype(np.int8)), directed=False)
    sets = [tuple(int(i) for i in np.flatnonzero(labels == k)) for k in range(count)]
    return sorted((s for s in sets if len(s) > 1), key=lambda s: (-len(s), s))


def find_clusters(
    posterior: Posterior,
    group: Group,
    confusion: NDArray[np.float64],
    collapsed: NDArray[np.bool_],
    *,
    draws: int,
    generator: np.random.Generator,
    effort: Effort = DEFAULT,
) -> tuple[Cluster, ...]:
    """Clusters with the entropy each holds when only its own units may exchange, nats."""
    sets = components(confusion)
    if not sets:
        return ()
    loc = {n: torch.from_numpy(posterior.loc[n]) for n in group.tensors}
    scale = {n: torch.from_numpy(posterior.scale[n]) for n in group.tensors}
    noise = {n: torch.from_numpy(generator.standard_normal((draws, *v.shape))) for n, v in loc.items()}
    matrices = SlotDensity(group, loc, scale)({n: loc[n] + scale[n] * noise[n] for n in loc}).numpy()
    result = []
    for units in sets:
        block = matrices[:, units][:, :, units]
        entropy = log_permanent(block, generator=generator, effort=effort, bounds=False).value.mean()
        result.append(Cluster(units, bool(collapsed[list(units)].all()), float(max(entropy, 0.0))))
    return tuple(result)
