"""The weights that a symmetrised run starts with, and how they fade to 1.

A straddled start sits in a basin of the plain ELBO: with more weight on the straddling term at first the
run leaves it. The path changes, not the objective at its end.
"""

from __future__ import annotations

ANNEALED_SHARE = 0.4  # of the steps, after which all weights are 1
STRADDLING_WEIGHT_START = 4.0


def remaining(step: int, annealed_steps: int) -> float:
    """1 at the first step, falling linearly to 0 at the end of the annealed steps."""
    return max(0.0, 1.0 - step / annealed_steps) if annealed_steps else 0.0


def straddling_weight(step: int, annealed_steps: int, start: float) -> float:
    """Weight of the straddling term at one step, falling linearly from ``start`` to 1.

    >>> [straddling_weight(t, 40, 4.0) for t in (0, 20, 40, 99)]
    [4.0, 2.5, 1.0, 1.0]
    """
    return 1.0 + (start - 1.0) * remaining(step, annealed_steps)
