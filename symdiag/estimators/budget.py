"""How many draws to spend: a target precision under a nominal time budget.

The budget is counted in *nominal* seconds of a fixed cost model, never on the clock, so that the
same file, seed and settings give the same report on a fast and on a slow machine.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from symdiag.permanents import DEFAULT, Effort, sampling_steps
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, PermutationSpec

MIN_DRAWS = 4
PILOT_DRAWS = 256
"""Where draws are cheap: fewer would miss the rare large values of nearly separated units, and
their spread.
"""
MAX_DRAWS = 4096
WIDE = 256
RELATIVE_PRECISION = 0.01
ABSOLUTE_PRECISION = 0.05

_SAMPLE = 2e-8  # s per weight
_PRODUCT = 1e-10  # s per multiply-add of a matrix product
_SCALING = 3e-10  # s per n³ of dual scaling and block search
_OPERATION = 1e-9  # s per step of the dynamic programme or of the sampler
_CERTIFY = 3e-9  # s per n³ of the deterministic bounds
_ELEMENT = 8e-4  # s per element and group of the joint sandwich, before what grows with the width
_DECODING_STEPS = 12  # density matrices per group that decoding one draw is worth
_ALIGNMENT_STEPS = 18  # assignment problems per group that find the sandwich's anchor
ENUMERATION_COST = 1e-5
"""Nominal seconds per element and group of the exact joint sum."""
_JOINT_DRAWS = 64
_FEWEST_JOINT = 3


@dataclass(frozen=True)
class Allocation:
    """How many of the first draws get deterministic bounds, the coupling bound, the joint sandwich."""

    certified: int
    chain: int
    joint: int

    def after(self, done: int) -> Allocation:
        """What is left of it after ``done`` draws."""
        return Allocation(*(max(0, n - done) for n in (self.certified, self.chain, self.joint)))


def effort_for(spec: PermutationSpec) -> Effort:
    """Less work per matrix where layers are wide: there the spread over weight draws dwarfs the
    sampler's.
    """
    widest = max((g.width for g in spec), default=0)
    return DEFAULT if widest <= WIDE else dataclasses.replace(DEFAULT, particles=64, runs=2)


def target(value: float, precision: float | None) -> float:
    """The half-width aimed at: ``precision``, or 0.05 nats + 1 % of the value."""
    return (
        precision if precision is not None else ABSOLUTE_PRECISION + RELATIVE_PRECISION * abs(value)
    )


def block_size(posterior: Posterior, group: Group) -> int:
    """Weights per unit of a group."""
    tensors = ((posterior.loc[m.tensor], m) for m in group.members)
    return sum(m.outer * m.inner * (loc.size // loc.shape[m.axis]) for loc, m in tensors)


def draw_cost(posterior: Posterior, spec: PermutationSpec) -> float:
    """Nominal seconds of one weight draw through every group, before the permanents themselves."""
    # no clock anywhere: the number of draws, hence the report, is the same on every machine
    cost = _SAMPLE * posterior.num_parameters
    return cost + sum(_matrix_cost(posterior, group) for group in spec)


def _matrix_cost(posterior: Posterior, group: Group) -> float:
    """Nominal seconds to form one density matrix and to scale it or solve its assignment problem."""
    products = 2.0 * group.width**2 * block_size(posterior, group) * (2 if group.signed else 1)
    return _PRODUCT * products + _SCALING * group.width**3


def guessed_operations(spec: PermutationSpec, effort: Effort) -> float:
    """Steps of one draw's permanents if no matrix splits into blocks; measured once the first draws
    are done.
    """
    return sum(
        3.0 * g.width * 2.0**g.width
        if g.width <= effort.max_exact
        else sampling_steps(g.width, effort)
        for g in spec
    )


def seconds(operations: float) -> float:
    """Nominal seconds of that many steps."""
    return _OPERATION * operations


def certify_cost(spec: PermutationSpec, max_exact: int) -> float:
    """Nominal seconds for the deterministic bounds of one draw."""
    return sum(_CERTIFY * g.width**3 for g in spec if g.width > max_exact)


def pilot_draws(cost: float, budget: float, share: float = 0.5) -> int:
    """Draws of the first batch: at most ``share`` of the budget, but never fewer than
    ``MIN_DRAWS``.
    """
    return max(MIN_DRAWS, min(PILOT_DRAWS, int(share * budget / max(cost, 1e-12))))


def further_draws(
    std: float, value: float, done: int, cost: float, budget: float, precision: float | None
) -> int:
    """Draws still needed for ``2 std/√S ≤ target``, as far as affordable."""
    wanted = min(MAX_DRAWS, math.ceil((2.0 * std / target(value, precision)) ** 2))
    affordable = max(0, int((budget - done * cost) / max(cost, 1e-12)))
    return min(max(0, wanted - done), affordable)


def reached(std: float, value: float, done: int, precision: float | None) -> bool:
    """Whether the target precision was met (to a tenth, since std itself is estimated)."""
    return 2.0 * std / math.sqrt(done) <= 1.1 * target(value, precision)


def certified_draws(cost: float, budget: float, done: int) -> int:
    """How many draws get deterministic bounds within a quarter of the budget (0 if fewer than 2)."""
    count = done if cost == 0.0 else min(done, int(0.25 * budget / cost))
    return count if count >= 2 else 0


def sandwich_cost(posterior: Posterior, spec: PermutationSpec, elements: int) -> float:
    """Nominal seconds of the joint sandwich on one draw."""
    cost = 0.0
    for group in spec:
        matrix = _matrix_cost(posterior, group)
        cost += _ALIGNMENT_STEPS * (matrix + 2e-4) + elements * (_ELEMENT + matrix)
    return cost


def decoding_cost(posterior: Posterior, spec: PermutationSpec) -> float:
    """Nominal seconds of decoding the labels of one draw."""
    return _DECODING_STEPS * sum(_matrix_cost(posterior, group) for group in spec)


def joint_draws(cost: float, budget: float, most: int | None = None) -> int:
    """How many draws get the joint sandwich or sum within half of the budget (0 if too few to say
    how they spread).
    """
    count = min(most or _JOINT_DRAWS, int(0.5 * budget / cost))
    return count if count >= _FEWEST_JOINT else 0


def chain_draws(cost: float, budget: float, pilot: int) -> int:
    """How many draws get the coupling bound and decoding at ``cost`` each: half of the budget, at
    least 4.
    """
    return max(MIN_DRAWS, min(pilot, _JOINT_DRAWS, int(0.5 * budget / max(cost, 1e-12))))
