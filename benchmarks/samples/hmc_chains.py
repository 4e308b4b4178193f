"""Four HMC chains on a 1-4-1 tanh regression net: the draws of docs/samples.md.

python benchmarks/samples/hmc_chains.py draws.npz
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHAPES = {"fc1.weight": (4, 1), "fc1.bias": (4,), "fc2.weight": (1, 4), "fc2.bias": (1,)}
SIZE = sum(math.prod(shape) for shape in SHAPES.values())
NOISE, PRIOR = 0.1, 1.5
CHAINS, DRAWS, BURN, THIN = 4, 1500, 1500, 10
STEP, LEAPS = 0.006, 40


def unpacked(flat: Array) -> dict[str, Array]:
    """Vectors (…, D) as named tensors."""
    ends = np.cumsum([math.prod(shape) for shape in SHAPES.values()])[:-1]
    parts = np.split(flat, ends, axis=-1)
    return {
        n: p.reshape(*flat.shape[:-1], *s) for (n, s), p in zip(SHAPES.items(), parts, strict=True)
    }


def energy_on(x: Array, y: Array) -> Callable[[Array], tuple[float, Array]]:
    """−log posterior up to a constant, and its gradient."""

    def energy(flat: Array) -> tuple[float, Array]:
        w = unpacked(flat)
        hidden = np.tanh(x @ w["fc1.weight"].T + w["fc1.bias"])
        rest = (hidden @ w["fc2.weight"].T + w["fc2.bias"] - y) / NOISE
        back = (rest @ w["fc2.weight"]) * (1 - hidden**2)
        slopes = [
            s.ravel() / NOISE for s in (back.T @ x, back.sum(0), rest.T @ hidden, rest.sum(0))
        ]
        value = 0.5 * float((rest**2).sum()) + 0.5 * float(flat @ flat) / PRIOR**2
        return value, np.concatenate(slopes) + flat / PRIOR**2

    return energy


def hmc(energy: Callable[[Array], tuple[float, Array]], rng: np.random.Generator) -> Array:
    """One chain: (draws, D)."""
    here = rng.standard_normal(SIZE)
    value, slope = energy(here)
    kept = []
    for i in range(BURN + DRAWS):
        momentum = rng.standard_normal(SIZE)
        start = value + 0.5 * momentum @ momentum
        there, new, gradient = here, value, slope
        step = STEP * rng.uniform(0.6, 1.2)
        for _ in range(LEAPS):
            momentum = momentum - 0.5 * step * gradient
            there = there + step * momentum
            new, gradient = energy(there)
            momentum = momentum - 0.5 * step * gradient
        if np.log(rng.random()) < start - new - 0.5 * momentum @ momentum:
            here, value, slope = there, new, gradient
        if i >= BURN and (i - BURN) % THIN == 0:
            kept.append(here)
    return np.array(kept)


def main(path: str) -> None:
    """Run the chains and write (chain, draw, …) per tensor."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (40, 1))
    energy = energy_on(x, np.sin(2 * x) + NOISE * rng.standard_normal((40, 1)))
    chains = np.array([hmc(energy, np.random.default_rng(10 + c)) for c in range(CHAINS)])
    np.savez(path, **unpacked(chains))


if __name__ == "__main__":
    main(sys.argv[1])
