"""Learning rate: linear warm-up, then cosine decay to zero."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The rate for update number ``step`` of ``steps`` (from 0).

    >>> [round(learning_rate(t, 10, 1.0, 0.2), 3) for t in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    ramp = round(warmup * steps)
    if step < ramp:
        return peak * (step + 1) / ramp
    progress = (step - ramp) / max(1, steps - ramp)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
