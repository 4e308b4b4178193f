"""Randomness as a function of (seed, purpose, step, draw): nothing to store, resuming is exact.

The control run and the symmetrised run draw from the same generators, hence see the same weights'
noise and the same batches at the same step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PURPOSES = {"noise": 1, "batch": 2, "marginals": 3, "evaluation": 4, "initial": 5}


def generator_for(seed: int, purpose: str, step: int = 0, draw: int = 0) -> np.random.Generator:
    """The generator for one purpose at one step, of one draw (Philox, counter-based)."""
    key = np.array([seed, _PURPOSES[purpose]], dtype=np.uint64)
    # the low words count blocks: two of these streams meet after 2^128 of them, never
    counter = np.array([0, 0, draw, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def batch_indices(
    num_points: int, batch_size: int, seed: int, step: int
) -> NDArray[np.int64] | None:
    """Indices of this step's points, the same in every process; None for all the points there are.

    Each epoch visits a fresh permutation of the points, and a last batch that would be short is
    left out.
    """
    if batch_size >= num_points:
        return None
    epoch, position = divmod(step, num_points // batch_size)
    order = generator_for(seed, "batch", epoch).permutation(num_points)
    return order[position * batch_size : (position + 1) * batch_size]
