"""Randomness as a function of (seed, purpose, step, rank): nothing to store, resuming is exact.

The control run and the symmetrised run draw from the same generators, hence see the same weights'
noise and the same batches at the same step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PURPOSES = {"noise": 1, "batch": 2, "marginals": 3, "evaluation": 4, "initial": 5}


def generator_for(seed: int, purpose: str, step: int = 0, rank: int = 0) -> np.random.Generator:
    """The generator for one purpose at one step of one process (Philox, counter-based)."""
    key = np.array([seed, _PURPOSES[purpose]], dtype=np.uint64)
    # the low words count blocks: two of these streams meet after 2^128 of them, never
    counter = np.array([0, 0, rank, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def batch_indices(
    num_points: int, batch_size: int, seed: int, step: int, *, rank: int = 0, world: int = 1
) -> NDArray[np.int64] | None:
    """Indices of this step's points for one process; None for all the points there are.

    Process ``rank`` owns the points rank, rank + world, ...; each epoch visits a fresh permutation
    of them, and a last batch that would be short is left out.
    """
    shard = np.arange(rank, num_points, world)
    size = max(1, batch_size // world)
    if size >= len(shard):
        return None if world == 1 else shard
    per_epoch = len(shard) // size
    epoch, position = divmod(step, per_epoch)
    order = generator_for(seed, "batch", epoch, rank).permutation(shard)
    return order[position * size : (position + 1) * size]
