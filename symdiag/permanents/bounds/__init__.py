"""Deterministic bounds on log perm: one file each, found by listing this package.

A module holds one ``BOUND``. Its file is all that has to be added: the planner runs every bound
that is listed, and ``tests/permanents/test_bounds.py`` checks each against exact values. The
stages say when:

- ``whole``: on the scaled matrix as it comes. Where these ends nearly meet, nothing is estimated;
- ``first``: on every block that is sampled;
- ``refined``: there too, where the first ends are further apart than 0.1 % of log n!.
"""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import ContradictionError
from symdiag.permanents.blocks import BlockStructure, small_blocks
from symdiag.permanents.doubly_stochastic import (
    DoublyStochastic,
    round_to_doubly_stochastic,
    sinkhorn,
)
from symdiag.permanents.results import NOTHING_KNOWN, Ends

__all__ = ["Bound", "ScaledMatrix", "Stage", "all_bounds", "certified", "tightest"]

Stage = Literal["whole", "first", "refined"]

_NARROW = 1e-3  # of log n!: ends this close are not refined
_ROUNDING = 1e-9  # nats (per nat of size) by which ends may cross: each one accounts for its own


class ScaledMatrix:
    """One scaled (n, n) matrix of log weights, and what several bounds need of it, made once.

    No entry exceeds 0 (up to rounding) and the diagonal is finite.

    Args:
        log_weights: (n, n), -inf allowed off the diagonal.
        small: largest block that ``small_blocks`` may hold.
    """

    def __init__(self, log_weights: Array, *, small: int = 12) -> None:
        self.log_weights = log_weights
        self._small = small

    @property
    def size(self) -> int:
        """Number of rows n."""
        return len(self.log_weights)

    @functools.cached_property
    def finite(self) -> bool:
        """Whether no entry is zero."""
        return bool(np.isfinite(self.log_weights).all())

    @functools.cached_property
    def balanced(self) -> DoublyStochastic:
        """Scaled by Sinkhorn, doubly stochastic to 1e-4."""
        return sinkhorn(np.exp(self.log_weights))

    @functools.cached_property
    def doubly_stochastic(self) -> Array:
        """(n, n): ``balanced``, rounded to be doubly stochastic exactly."""
        return round_to_doubly_stochastic(self.balanced.weights)

    @functools.cached_property
    def small_blocks(self) -> BlockStructure | None:
        """The cut into small blocks that loses least; None when there is none."""
        return small_blocks(self.log_weights, self._small)


@dataclass(frozen=True)
class Bound:
    """One deterministic bound.

    Attributes:
        name: the field's name for it.
        stages: when the planner runs it (see the package).
        when: in which regime it is worth what it costs.
        evaluate: ends on log perm in nats, rounding accounted for; infinite where it says nothing.
        applies: whether it holds for a matrix at all.
    """

    name: str
    stages: tuple[Stage, ...]
    when: str
    evaluate: Callable[[ScaledMatrix, Stage], Ends]
    applies: Callable[[ScaledMatrix], bool] = lambda matrix: True


@functools.cache
def all_bounds() -> tuple[Bound, ...]:
    """Every bound in this package, by name of its file."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").BOUND for name in names)


def tightest(matrix: ScaledMatrix, stage: Stage, known: Ends = NOTHING_KNOWN) -> Ends:
    """The best ends that ``known`` and all bounds of one stage give.

    Raises:
        ContradictionError: two ends exclude each other: a bound is wrong.
    """
    ends = known
    for bound in all_bounds():
        if stage in bound.stages and bound.applies(matrix):
            found = bound.evaluate(matrix, stage)
            ends = Ends(max(ends.lower, found.lower), min(ends.upper, found.upper))
            if ends.lower > ends.upper + _ROUNDING * (1.0 + abs(ends.upper)):
                raise ContradictionError(
                    f"log perm of {matrix.size} rows: {ends.lower} <= . <= {ends.upper} "
                    f"once {bound.name} was known"
                )
    return ends


def certified(matrix: ScaledMatrix, *, thorough: bool) -> Ends:
    """Ends on log perm of one block from the first bounds, and from the refined where they pay."""
    ends = tightest(matrix, "first")
    if not thorough or ends.upper - ends.lower <= _NARROW * math.lgamma(matrix.size + 1):
        return ends
    return tightest(matrix, "refined", ends)
