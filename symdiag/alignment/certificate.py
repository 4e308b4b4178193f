"""How good an alignment is: distance, lower bound, agreement of restarts, and each unit's margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from symdiag.alignment.assignment import State
from symdiag.alignment.bounds import split_bound, triangle_holds
from symdiag.alignment.descent import Solver, matched_costs
from symdiag.alignment.dual_ascent import dual_ascent_bound
from symdiag.alignment.search import Found
from symdiag.arrays import Array
from symdiag.symmetry.elements import Element

Status = Literal["optimal", "bounded", "not-certified"]

_ROUNDING = 1e-9
_WORTHLESS = 0.01
_AMBIGUOUS = 0.05


@dataclass(frozen=True)
class Certificate:
    """What is known about the best alignment possible, in the units of the cost.

    ``lower_bound`` never exceeds the distance that any permutation and signs could reach;
    ``method`` is the argument behind it: ``assignment`` (groups share no tensor, so each Hungarian
    solution is optimal), ``non-negative`` (no distance is below 0), ``triangle``, ``split`` or
    ``dual-ascent`` (see ``bounds`` and ``dual_ascent``), ``none`` (not asked for). ``status`` is
    ``optimal`` when the bound meets the distance, ``bounded`` when it reaches at least 1 % of it,
    else ``not-certified``. ``agreement`` is the fraction of independent starts that ended at this
    distance, out of ``starts``.
    """

    distance_before: float
    distance: float
    lower_bound: float
    method: str
    status: Status
    agreement: float
    starts: int

    @property
    def gap(self) -> float:
        """How much the distance could at most be improved."""
        return max(0.0, self.distance - self.lower_bound)

    @property
    def statement(self) -> str:
        """``optimal``, ``optimal up to x`` or ``not certified``, with the figure that backs it."""
        if self.status == "optimal":
            return f"optimal ({self.method})"
        if self.status == "bounded":
            return f"optimal up to {self.gap:.4g} ({self.gap / self.distance:.1%} of the distance; {self.method} bound)"
        return f"not certified (the {self.method} bound only shows that the best distance is ≥ {self.lower_bound:.4g})"


@dataclass(frozen=True)
class Matches:
    """One group's matches: what each costs and how safe it is.

    Attributes:
        costs: (n,) cost of each unit's match, tensors shared with other groups counted in full.
        margins: (n,) rise in the total if the unit had to take another match or sign, other groups
            held fixed.
        exact: whether margins are exact, else lower bounds (groups over 600 units, or acting twice
            on a tensor).
        ambiguous: units whose margin is zero to rounding or below 5 % of what the match itself
            costs.
    """

    costs: Array
    margins: Array
    exact: bool
    ambiguous: tuple[int, ...]


def certificate_of(solver: Solver, found: Found, *, bounds: bool = True) -> Certificate:
    """The certificate of a search's result; ``bounds=False`` skips the relaxations."""
    problem, distance = solver.problem, found.distance
    # the first start is the identity: the distance as the files stand
    before = found.starts[0].distance
    lower, method = _lower_bound(solver, distance, bounds)
    # a bound above a distance reached can only be rounding; ``rounding_slack`` is part of each
    lower = min(lower, distance)
    status: Status = "not-certified"
    if distance - lower <= _ROUNDING * distance + problem.negligible:
        status = "optimal"
    elif lower >= _WORTHLESS * distance:
        status = "bounded"
    return Certificate(before, distance, lower, method, status, found.agreement, len(found.starts))


def _lower_bound(solver: Solver, distance: float, bounds: bool) -> tuple[float, str]:
    problem = solver.problem
    # groups that share no tensor: the sum of optimal assignments is the optimum
    if problem.is_separable:
        return distance, "assignment"
    if distance <= problem.negligible or not bounds:
        return 0.0, "non-negative"
    # relaxations cost far more than this test, which decides well separated pairs
    if triangle_holds(problem, distance):
        return distance, "triangle"
    candidates = {"split": split_bound(solver)}
    ascended = dual_ascent_bound(solver, distance)
    if ascended is not None:
        candidates["dual-ascent"] = ascended
    method = max(candidates, key=lambda name: candidates[name])
    return candidates[method], method


def matches(solver: Solver, group: int, state: State) -> Matches:
    """Costs, margins and ambiguous units of one group at ``state``."""
    both = solver.costs(group, state)
    element = state[group]
    costs = matched_costs(both, element)
    margins, exact = assignment_margins(both, element)
    tolerance = 1e-11 * float(both.max(initial=0.0))
    # relative to the match's own cost: a margin means little where every match is dear
    unsure = (margins <= tolerance) | (
        margins < _AMBIGUOUS * np.where(costs > tolerance, costs, 0.0)
    )
    twice = group in solver.problem.neighbours[group]
    return Matches(
        costs, margins, exact and not twice, tuple(int(i) for i in np.flatnonzero(unsure))
    )


_EXACT_WIDTH = 600


def assignment_margins(both: Array, element: Element) -> tuple[Array, bool]:
    """Per unit, the rise in total cost of the best assignment that gives it another match or
    another sign.

    Re-matching unit i runs a cycle through i in the exchange graph, whose edge i → k is the cost of
    giving k's match to i; the cheapest cycle is found by all shortest paths (exact). Above 600
    units a lower bound from reduced costs is given: the cheapest edge out of i plus the cheapest
    edge into it.

    Args:
        both: (2 or 1, n, n) costs with sign + and −; ``element`` must be an optimal assignment of
            them.
        element: The assignment in force.

    Returns:
        (n,) margins ≥ 0 (infinite for a single unsigned unit), and whether they are exact.
    """
    rows = np.arange(both.shape[1])
    # (n, n), columns in the order of the matched units: the assignment becomes the diagonal
    best = both.min(axis=0)[:, element.permutation]
    edges = reduced_costs(best)
    np.fill_diagonal(edges, np.inf)
    exact = len(rows) <= _EXACT_WIDTH
    margins = _shortest_cycles(edges) if exact else edges.min(axis=1) + edges.min(axis=0)
    if len(both) == 2:
        matched = both[:, rows, element.permutation]
        # the other way to change a unit's match is to keep the unit and take its other sign
        margins = np.minimum(margins, np.abs(matched[0] - matched[1]))
    return margins, exact


def reduced_costs(costs: Array) -> Array:
    """Reduced costs (n, n) ≥ 0 of a matrix whose best assignment is the diagonal: C_ik − C_ii + y_i
    − y_k.

    Potentials y are shortest distances in the exchange graph (Bellman-Ford; no negative cycle
    exists at an optimum).
    """
    edges = costs - np.diag(costs)[:, None]
    potential = np.zeros(len(costs))
    # n rounds suffice: a shortest path has at most n − 1 edges
    for _ in range(len(costs)):
        lower = np.minimum(potential, (potential[:, None] + edges).min(axis=0))
        if (lower >= potential - 1e-15 * np.abs(potential).max()).all():
            break
        potential = lower
    return np.maximum(edges + potential[:, None] - potential[None, :], 0.0)


def _shortest_cycles(edges: Array) -> Array:
    """(n,) length of the cheapest cycle through each node of a non-negative dense graph
    (Floyd-Warshall).
    """
    lengths = edges.copy()
    for k in range(len(lengths)):
        np.minimum(lengths, lengths[:, k, None] + lengths[None, k], out=lengths)
    cycles: Array = np.diag(lengths).copy()
    return cycles
