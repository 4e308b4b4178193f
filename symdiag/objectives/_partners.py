"""Which swaps a group's chain proposes: a table that is kept between the steps of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array, IntArray
from symdiag.objectives._moments import Slots
from symdiag.permanents import partner_table

_RENEWED_AFTER = 32  # calls for which a table of partners is kept
_TABLE_DRAWS = 4


class Partners:
    """The table of partners of one group, renewed every ``_RENEWED_AFTER`` calls.

    It decides how fast the chain mixes, not what it converges to, so that it may be old; a resumed
    run must go on with the same one to be the same run. Its draws are its own, alike in all
    processes of a run. ``calls`` counts how often it was asked for.
    """

    def __init__(self, width: int) -> None:
        self._table: IntArray = np.empty((width, 0), dtype=np.int64)
        self.calls = 0

    def table(self, log_weights: Callable[[Slots], Array], slots: Slots) -> IntArray:
        """The table for this call; ``log_weights`` maps slots with draws to their A, (S, n, n)."""
        if self.calls % _RENEWED_AFTER == 0:
            generator = np.random.default_rng([17, self.calls])
            noise = generator.standard_normal((_TABLE_DRAWS, *slots.mean.shape))
            std = torch.where(slots.precision > 0, slots.precision, torch.inf) ** -0.5
            x = slots.mean + std * torch.from_numpy(noise).to(slots.mean)
            there = dataclasses.replace(slots, x=x, square=x * x)
            self._table = partner_table(log_weights(there), generator)
        self.calls += 1
        return self._table

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the table and its age."""
        return {
            "partners": torch.from_numpy(self._table.copy()),
            "calls": torch.tensor(self.calls),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from such copies."""
        self._table, self.calls = tensors["partners"].numpy().copy(), int(tensors["calls"])
