"""Estimators of log perm of one scaled block: one file each, found by listing this package.

A module holds one ``ESTIMATOR``. Its file is all that has to be added: the planner asks the
estimators in ascending ``order`` and takes the first that does not decline, and
``tests/permanents/test_estimators.py`` checks each against exact values.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array, IntArray
from symdiag.permanents.bounds import ScaledMatrix
from symdiag.permanents.results import Effort, Part

__all__ = ["Estimator", "Task", "all_estimators", "estimate", "mean_log_weight"]


@dataclass(frozen=True)
class Task:
    """One scaled block to evaluate.

    Attributes:
        matrix: its log weights, (n, n).
        generator: source of all randomness.
        effort: how hard to try.
        identity: (n,) position of the labelling the weights were drawn with, a draw from P(pi)
            when omega ~ q; None when it leads out of the block.
        inner_entropy: (n, n) entropy of what each entry itself sums over; None where
            ``Part.weight`` is not wanted.
        bounds: whether deterministic bounds and the conditional run are wanted.
        sampled: number of blocks of the matrix that share the failure probability delta.
    """

    matrix: ScaledMatrix
    generator: np.random.Generator
    effort: Effort
    identity: IntArray | None
    inner_entropy: Array | None = None
    bounds: bool = True
    sampled: int = 1


@dataclass(frozen=True)
class Estimator:
    """One way to evaluate a block.

    Attributes:
        name: as ``LogPermanent.method`` shows it.
        order: cheap and sure ones are asked first.
        when: which blocks it takes, and why there.
        evaluate: log perm with its bounds, nats; None to decline.
    """

    name: str
    order: int
    when: str
    evaluate: Callable[[Task], Part | None]


@functools.cache
def all_estimators() -> tuple[Estimator, ...]:
    """Every estimator in this package, in the order they are asked."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    found = [importlib.import_module(f"{__name__}.{name}").ESTIMATOR for name in names]
    return tuple(sorted(found, key=lambda estimator: estimator.order))


def estimate(task: Task) -> Part:
    """What the first estimator says that takes the block."""
    for estimator in all_estimators():
        part = estimator.evaluate(task)
        if part is not None:
            return part
    raise AssertionError("row SMC takes every block")


def mean_log_weight(marginals: Array, log_weights: Array, inner_entropy: Array) -> float:
    """E log w(pi') for a law with these marginals (n, n); entries that sum over things lose theirs."""
    used = marginals > 0.0
    return float(np.sum(marginals[used] * (log_weights[used] - inner_entropy[used])))
