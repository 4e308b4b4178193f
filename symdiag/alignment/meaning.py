"""What an alignment says about two posteriors: how much was relabelling, and are they the same?

Criteria (docs/alignment.md):

- *same mode up to symmetry*: after alignment the means differ by no more than the posteriors' own uncertainty: the
  root mean square of z = (μ − μ')/√(σ² + σ'²) over informative weights (|μ| > σ in either posterior) is at most 1.
  Without any std the means must explain 99 % of each other: Σ(μ − μ')² ≤ 0.01 · ½ Σ(μ² + μ'²).
- *same function, different mode*: not so, but on the data given the pointwise predictive log-likelihoods differ by at
  most 0.1 nats on average.
- *different*: neither; or the functions were not compared, which ``function_gap`` None says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element

Verdict = Literal["same mode up to symmetry", "same function, different mode", "different"]

MAX_STANDARD_DIFFERENCE = 1.0
MAX_UNEXPLAINED = 0.01
MAX_FUNCTION_GAP = 0.1


@dataclass(frozen=True)
class Churn:
    """How much one group was relabelled.

    ``transpositions`` is the least number of swaps that undo the permutation, n − its number of cycles; ``moved``
    the number of units not in their place; ``flipped`` the number whose sign changed.
    """

    transpositions: int
    moved: int
    flipped: int


def churn(element: Element) -> Churn:
    """Counts of one group element."""
    permutation = element.permutation
    moved = int((permutation != np.arange(len(permutation))).sum())
    return Churn(
        len(permutation) - _cycles(permutation.tolist()), moved, int((element.signs < 0).sum())
    )


def _cycles(permutation: list[int]) -> int:
    seen, cycles = [False] * len(permutation), 0
    for start in range(len(permutation)):
        cycles += not seen[start]
        unit = start
        while not seen[unit]:
            seen[unit] = True
            unit = permutation[unit]
    return cycles


@dataclass(frozen=True)
class Closeness:
    """Two posteriors compared weight by weight, as they stand.

    ``standard_difference``: root mean square of z over informative weights; None when there is no informative weight
    with a std. ``unexplained``: Σ(μ − μ')² over ½ Σ(μ² + μ'²), all weights; 0 when all means are zero.
    """

    standard_difference: float | None
    unexplained: float


def closeness(model: Posterior, reference: Posterior) -> Closeness:
    """How far apart two posteriors are, relative to their own uncertainty and size."""
    squares, count, difference, size = 0.0, 0, 0.0, 0.0
    for name in model.names:
        loc, other = model.loc[name], reference.loc[name]
        gap = (loc - other) ** 2
        difference += float(gap.sum())
        size += 0.5 * (float(np.vdot(loc, loc)) + float(np.vdot(other, other)))
        scale, other_scale = model.scale[name], reference.scale[name]
        if not (scale.any() or other_scale.any()):
            continue
        informative = (np.abs(loc) > scale) | (np.abs(other) > other_scale)
        informative &= (scale > 0) | (other_scale > 0)
        squares += float((gap[informative] / (scale**2 + other_scale**2)[informative]).sum())
        count += int(informative.sum())
    return Closeness(
        float(np.sqrt(squares / count)) if count else None, difference / size if size else 0.0
    )


def judge(aligned: Closeness, function_gap: float | None = None) -> Verdict:
    """The verdict by the criteria above. ``function_gap``: nats per data point, None when not compared."""
    near = aligned.unexplained <= MAX_UNEXPLAINED
    if aligned.standard_difference is not None:
        near = aligned.standard_difference <= MAX_STANDARD_DIFFERENCE
    if near:
        return "same mode up to symmetry"
    if function_gap is not None and function_gap <= MAX_FUNCTION_GAP:
        return "same function, different mode"
    return "different"
