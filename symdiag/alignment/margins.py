"""How much worse the best assignment becomes when one unit must take another match."""

from __future__ import annotations

import numpy as np

from symdiag.posterior import Array
from symdiag.symmetry.elements import Element

_EXACT_WIDTH = 600


def assignment_margins(both: Array, element: Element) -> tuple[Array, bool]:
    """Per unit, the rise in total cost of the best assignment that gives it another match or another sign.

    Re-matching unit i runs a cycle through i in the exchange graph, whose edge i → k is the cost of giving k's
    match to i; the cheapest cycle is found by all shortest paths (exact). Above 600 units a lower bound from
    reduced costs is given: the cheapest edge out of i plus the cheapest edge into it.

    Args:
        both: (2 or 1, n, n) costs with sign + and −; ``element`` must be an optimal assignment of them.
        element: The assignment in force.

    Returns:
        (n,) margins ≥ 0 (infinite for a single unsigned unit), and whether they are exact.
    """
    rows = np.arange(both.shape[1])
    best = both.min(axis=0)[:, element.permutation]
    edges = reduced_costs(best)
    np.fill_diagonal(edges, np.inf)
    exact = len(rows) <= _EXACT_WIDTH
    margins = _shortest_cycles(edges) if exact else edges.min(axis=1) + edges.min(axis=0)
    if len(both) == 2:
        matched = both[:, rows, element.permutation]
        margins = np.minimum(margins, np.abs(matched[0] - matched[1]))
    return margins, exact


def reduced_costs(costs: Array) -> Array:
    """Reduced costs (n, n) ≥ 0 of a matrix whose best assignment is the diagonal: C_ik − C_ii + y_i − y_k.

    Potentials y are shortest distances in the exchange graph (Bellman-Ford; no negative cycle exists at an optimum).
    """
    edges = costs - np.diag(costs)[:, None]
    potential = np.zeros(len(costs))
    for _ in range(len(costs)):
        lower = np.minimum(potential, (potential[:, None] + edges).min(axis=0))
        if (lower >= potential - 1e-15 * np.abs(potential).max()).all():
            break
        potential = lower
    return np.maximum(edges + potential[:, None] - potential[None, :], 0.0)


def _shortest_cycles(edges: Array) -> Array:
    """(n,) length of the cheapest cycle through each node of a non-negative dense graph (Floyd-Warshall)."""
    lengths = edges.copy()
    for k in range(len(lengths)):
        np.minimum(lengths, lengths[:, k, None] + lengths[None, k], out=lengths)
    cycles: Array = np.diag(lengths).copy()
    return cycles
