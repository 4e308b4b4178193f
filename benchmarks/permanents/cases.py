"""The matrices: n diagonal Gaussians of unit std in d dimensions, means ``spread`` apart, one draw each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array


@dataclass(frozen=True)
class Case:
    """A regime at a size; ``pruned`` neurons share a mean up to ``jitter``."""

    regime: str
    n: int
    d: int
    spread: float
    pruned: int = 0
    jitter: float = 0.0

    def matrix(self, seed: int) -> Array:
        """log q_i(w_j) - log q_j(w_j) for one draw w."""
        rng = np.random.default_rng(seed)
        mean = self.spread * rng.normal(size=(self.n, self.d))
        mean[: self.pruned] = self.jitter * rng.normal(size=(self.pruned, self.d))
        draw = mean + rng.normal(size=(self.n, self.d))
        log_density = mean @ draw.T - (mean**2).sum(1)[:, None] / 2 - (draw**2).sum(1) / 2
        return np.asarray(log_density - np.diagonal(log_density))


EXACT = [
    Case("identical", 16, 5, 0.0),
    Case("near-identical", 16, 5, 0.3),
    Case("transition", 16, 5, 1.0),
    Case("transition", 16, 50, 0.3),
    Case("transition", 16, 800, 0.1),
    Case("separated", 16, 5, 3.0),
    Case("half pruned", 16, 50, 1.0, pruned=8),
]

LARGE = [
    Case("identical", 1024, 50, 0.0),
    Case("near-identical", 1024, 800, 0.02),
    Case("near-identical", 1024, 5, 0.3),
    Case("transition", 256, 50, 0.3),
    Case("transition", 256, 800, 0.1),
    Case("transition", 256, 50, 0.5),
    Case("transition", 1024, 50, 0.3),
    Case("transition", 1024, 800, 0.1),
    Case("transition", 1024, 50, 0.5),
    Case("transition", 1024, 5, 3.0),
    Case("separated", 1024, 800, 0.2),
    Case("separated", 1024, 50, 1.0),
    Case("half pruned, identical", 1024, 800, 0.4, pruned=512),
    Case("half pruned, near-identical", 1024, 800, 0.4, pruned=512, jitter=0.03),
]

WIDEST = [Case("near-identical", 4096, 200, 0.06), Case("separated", 4096, 800, 0.3)]
