"""Lower bounds on the distance that any alignment could reach.

*Split bound.* A tensor shared by two groups costs at least what its unit blocks cost when the other
group may be reordered freely and for every unit pair anew (Gilmore 1962, Lawler 1963; the inner
assignments are relaxed to sorted matching). Sharing each tensor's cost between its axes with
weights λ that sum to one leaves one assignment per group; the sum of their optima bounds the total
for every λ, and subgradient steps raise it.

*Triangle bound* (costs whose root is a metric d). If d(M, R) = δ after alignment and every
non-trivial element h has d(hR, R) ≥ 2δ, then d(hM, R) ≥ d(hR, R) − d(hM, hR) ≥ δ: nothing else is
nearer, and the alignment is optimal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from symdiag.alignment.assignment import Assignment, State
from symdiag.alignment.descent import Solver
from symdiag.arrays import Array
from symdiag.symmetry.elements import Element

_STEPS = 12
_SLACK = 1e-12


def split_bound(solver: Solver) -> float:
    """The split bound, its weights improved by a few subgradient steps; less a slack for rounding."""
    problem = solver.problem
    parts = solver.relaxed_parts()
    weights = {key: 1.0 / len(problem.blocks[key[0]].axes) for key in parts}
    best = -np.inf
    for step in range(_STEPS):
        value, slopes = _evaluate(solver, parts, weights)
        best = max(best, value)
        weights = _ascend(weights, slopes, 1.0 / (step + 1))
    return max(0.0, problem.constant + best - rounding_slack([*solver.static, *parts.values()]))


def rounding_slack(costs: Iterable[Array]) -> float:
    """What float64 matrix products may have added to a sum of assignments over these cost matrices."""
    return _SLACK * float(sum(c.shape[-1] * float(c.max(initial=0.0)) for c in costs))


Key = tuple[int, int]
"""TensorBlock index, axis number."""


def _evaluate(
    solver: Solver, parts: dict[Key, Array], weights: dict[Key, float]
) -> tuple[float, dict[Key, float]]:
    """The bound at ``weights`` and its supergradient: each part's cost under its group's best
    assignment.
    """
    total, slopes = 0.0, {}
    for g, own in enumerate(solver.static):
        mine = [key for key in parts if solver.problem.blocks[key[0]].axes[key[1]].group == g]
        both = own + sum((weights[key] * parts[key] for key in mine), np.zeros_like(own))
        row, column = linear_sum_assignment(both.min(axis=0))
        sign = both[:, row, column].argmin(axis=0)
        total += float(both[sign, row, column].sum())
        slopes.update({key: float(parts[key][sign, row, column].sum()) for key in mine})
    return total, slopes


def _ascend(weights: dict[Key, float], slopes: dict[Key, float], step: float) -> dict[Key, float]:
    """One exponentiated-gradient step on every tensor's simplex of weights."""
    largest = max((abs(s) for s in slopes.values()), default=0.0) or 1.0
    raised = {key: w * np.exp(2.0 * step * slopes[key] / largest) for key, w in weights.items()}
    totals: dict[int, float] = {}
    for (block, _), w in raised.items():
        totals[block] = totals.get(block, 0.0) + w
    return {key: float(w / totals[key[0]]) for key, w in raised.items()}


def triangle_holds(problem: Assignment, distance: float) -> bool:
    """Whether every non-trivial element moves the reference at least twice as far as the model now
    is from it.
    """
    if not problem.cost.is_metric:
        return False
    itself = replace(
        problem, blocks=tuple(replace(b, model=b.reference) for b in problem.blocks), constant=0.0
    )
    if not all(
        _swap_is_far(itself, g, 2.0 * np.sqrt(max(distance, 0.0)))
        for g in range(len(itself.groups))
    ):
        return False
    solver = Solver(itself)
    nearest = min(_nearest_element(solver, g, itself.identity()) for g in range(len(itself.groups)))
    return bool(np.sqrt(nearest) * (1.0 - 1e-9) >= 2.0 * np.sqrt(max(distance, 0.0)))


def _swap_is_far(itself: Assignment, group: int, radius: float) -> bool:
    """Whether swapping the first two units moves the reference by ``radius``: else no bound need be
    computed.
    """
    width = itself.groups[group].width
    if width < 2:
        return True
    swap = Element(np.concatenate([[1, 0], np.arange(2, width)]), np.ones(width))
    state = tuple(swap if g == group else e for g, e in enumerate(itself.identity()))
    moved = sum(itself.block_distance(block, state) for block in itself.touching(group))
    return bool(np.sqrt(moved) >= radius)


def _nearest_element(solver: Solver, group: int, state: State) -> float:
    """Lower bound on the cost of any element that moves or flips a unit of ``group``, other groups
    free.
    """
    both = solver.costs(group, state, free=solver.problem.neighbours[group])
    moves = both.min(axis=0)
    np.fill_diagonal(moves, np.inf)
    two = np.sort(moves.min(axis=1))[:2]
    permuting = float(two.sum()) if len(two) == 2 else np.inf
    flipping = float(np.diag(both[1]).min()) if len(both) == 2 else np.inf
    return min(permuting, flipping)
