"""Hungarian coordinate descent: each group solved exactly with the others held fixed, until none
improves.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from symdiag.alignment.assignment import Assignment, State, TensorBlock, moved_weights, rows
from symdiag.alignment.costs import Weights
from symdiag.arrays import Array
from symdiag.symmetry.elements import Element

# Relative gains not worth a step: rounding in float64; in float32, where a float64 descent follows,
# small change.
_TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 5e-4}


class Solver:
    """Cost matrices of one problem; what only one group touches is computed once."""

    def __init__(self, problem: Assignment) -> None:
        self.problem = problem
        kinds = [b.model.loc.dtype for b in problem.blocks] or [np.dtype(np.float64)]
        self._tolerance = _TOLERANCE[kinds[0]]
        self.static = [self._static_costs(g) for g in range(len(problem.groups))]

    def costs(self, group: int, state: State, *, free: frozenset[int] = frozenset()) -> Array:
        """Cost of every unit pair with the other groups at ``state``: (2 or 1, n, n), axis 0 the
        sign +, −.

        Tensors shared with a group in ``free`` count with a lower bound over all its arrangements
        instead.
        """
        total = self.static[group].copy()
        for block in self.problem.touching(group):
            for k in block.positions(group):
                if len(block.axes) == 1:
                    continue
                # axes whose order is unknown enter by a bound over all their orders, not by the
                # current one
                relaxed = frozenset(
                    i for i, a in enumerate(block.axes) if i != k and a.group in free
                )
                total += self._contribution(block, k, state, relaxed)
        return total

    def solve(
        self, group: int, state: State, *, free: frozenset[int] = frozenset()
    ) -> tuple[Element, float]:
        """The best element of ``group``, and by how much it lowers the (linearised) cost; 0 if it
        stays.
        """
        both = self.costs(group, state, free=free)
        # (n, n): signs are chosen per pair, for a pair's sign concerns no other pair
        best = both.min(axis=0) if len(both) > 1 else both[0]
        row, column = np.arange(len(best)), best_assignment(best)
        current = state[group]
        now = matched_costs(both, current).sum()
        gain = float(now - best[row, column].sum())
        # a gain within rounding would let two equally good matches alternate for ever
        if gain <= self._tolerance * (abs(float(best.max())) + abs(float(now))):
            return current, 0.0
        signs = np.where(both[:, row, column].argmin(axis=0) == 0, 1.0, -1.0)
        return Element(column, signs), gain

    def descend(self, state: State, order: Iterable[int] | None = None) -> State:
        """Coordinate descent from ``state``: only groups with a changed neighbour are solved again.

        Every accepted step lowers the total, so it ends. ``order``: the order of the first sweep.
        """
        queue = list(range(len(self.problem.groups)) if order is None else order)
        while queue:
            group = queue.pop(0)
            element, gain = self.solve(group, state)
            if gain <= 0.0:
                continue
            after = (*state[:group], element, *state[group + 1 :])
            # on two axes of one tensor the cost is quadratic in the element: the linear gain may be
            # none
            if group in self.problem.neighbours[group] and not self._improves(group, state, after):
                continue
            state = after
            # what shares a tensor with the moved group sees other costs now; all else stands as
            # solved
            queue += [g for g in sorted(self.problem.neighbours[group]) if g not in queue]
        return state

    def relaxed_parts(self) -> dict[tuple[int, int], Array]:
        """(block index, axis number) of every shared tensor → (2 or 1, n, n) unit costs with all
        else free.
        """
        state, parts = self.problem.identity(), {}
        for index, block in enumerate(self.problem.blocks):
            if len(block.axes) > 1:
                for k in range(len(block.axes)):
                    free = frozenset(range(len(block.axes))) - {k}
                    parts[index, k] = self._contribution(block, k, state, free)
        return parts

    def _improves(self, group: int, before: State, after: State) -> bool:
        """True costs compared: for a group on two axes of one tensor the assignment is only a
        linearisation.
        """
        touched = self.problem.touching(group)
        was = sum(self.problem.block_distance(b, before) for b in touched)
        now = sum(self.problem.block_distance(b, after) for b in touched)
        return now < was * (1.0 - self._tolerance)

    def _static_costs(self, group: int) -> Array:
        width, signed = self.problem.groups[group].width, self.problem.groups[group].signed
        total = np.zeros((2 if signed else 1, width, width))
        for block in self.problem.touching(group):
            if len(block.axes) == 1:
                total += self._contribution(block, 0, self.problem.identity(), frozenset())
        return total

    def _contribution(
        self, block: TensorBlock, k: int, state: State, relaxed: frozenset[int]
    ) -> Array:
        """(2 or 1, n, n) costs of one tensor's unit blocks along axis ``k``."""
        pairwise = self.problem.cost.pairwise
        if relaxed:
            model, reference = unordered_rows(block, k, relaxed, state)
            pairwise = self.problem.cost.unordered
        else:
            model, reference = rows(moved_weights(block, state, but=k), k), rows(block.reference, k)
        plus = pairwise(model, reference)
        axis = block.axes[k]
        # (1, n, n) without flips, so that callers index the sign axis alike
        if not self.problem.groups[axis.group].signed:
            return plus[None]
        # where another free axis could flip the entries, either sign of this one costs the same
        sign_is_free = any(block.axes[i].flips for i in relaxed)
        return np.stack(
            [
                plus,
                pairwise(model.flipped(), reference) if axis.flips and not sign_is_free else plus,
            ]
        )


def unordered_rows(
    block: TensorBlock, k: int, relaxed: frozenset[int], state: State
) -> tuple[Weights, Weights]:
    """Both sides of ``block`` as (n, u, f): units along axis ``k``, the axes whose order is
    unknown, the rest.

    Axes neither ``k`` nor ``relaxed`` are moved by ``state``. Where an unknown sign could flip the
    entries, means are replaced by their sizes: min over signs of the cost is the cost of the sizes.
    """
    unknown = {block.axes[i].group for i in relaxed}
    fixed = tuple(
        Element.identity(len(e.permutation)) if g in unknown else e for g, e in enumerate(state)
    )
    # min over s of (a − s b)² is (|a| − |b|)²: sizes bound both signs from below
    absolute = any(block.axes[i].flips for i in relaxed)
    order = [
        k,
        *sorted(relaxed),
        *(i for i in range(len(block.axes) + 1) if i != k and i not in relaxed),
    ]

    def arrange(array: Array) -> Array:
        moved = array.transpose(order)
        size = int(np.prod(moved.shape[1 : 1 + len(relaxed)]))
        return np.ascontiguousarray(moved).reshape(len(moved), size, -1)

    def side(weights: Weights) -> Weights:
        loc = arrange(np.abs(weights.loc) if absolute else weights.loc)
        return Weights(loc, None if weights.scale is None else arrange(weights.scale))

    return side(moved_weights(block, fixed, but=k)), side(block.reference)


def best_assignment(costs: Array) -> NDArray[np.intp]:
    """(n,) column of every row in the cheapest assignment; without the solver where row minima do
    not collide.
    """
    # distinct row minima are an assignment, and no assignment beats the sum of row minima
    nearest: NDArray[np.intp] = costs.argmin(axis=1)
    if len(np.unique(nearest)) == len(costs):
        return nearest
    columns: NDArray[np.intp] = linear_sum_assignment(costs)[1].astype(np.intp)
    return columns


def matched_costs(both: Array, element: Element) -> Array:
    """(n,) cost of each unit's match under ``element``, from (2 or 1, n, n) costs."""
    sign = (
        (element.signs < 0).astype(np.intp)
        if len(both) == 2
        else np.zeros(both.shape[1], dtype=np.intp)
    )
    costs: Array = both[sign, np.arange(both.shape[1]), element.permutation]
    return costs
