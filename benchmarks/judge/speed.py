"""CPU seconds of the meter alone, on untrained posteriors: ``python -m benchmarks.judge.speed``."""

from __future__ import annotations

import itertools
import time

import numpy as np
import torch

from symdiag.diagnostics.kl_weight.gradients import Trained
from symdiag.diagnostics.kl_weight.meter import measure
from symdiag.network.architecture import Layer, Network
from symdiag.network.functional import forward
from symdiag.objectives.likelihoods import find_likelihood
from symdiag.posterior import Posterior
from symdiag.priors import GaussianPrior

CASES = (((20, 75, 75, 10), 1000), ((784, 400, 400, 10), 5000))


def trained(sizes: tuple[int, ...], points: int) -> Trained:
    """A ReLU classifier with random means and stds of .05, and as many random points."""
    rng = np.random.default_rng(0)
    loc, scale, layers = {}, {}, []
    for k, shape in enumerate(itertools.pairwise(sizes)):
        weight, bias = f"fc{k}.weight", f"fc{k}.bias"
        loc[weight] = rng.standard_normal(shape) / shape[0] ** 0.5
        loc[bias] = np.zeros(shape[1])
        layers.append(Layer(f"fc{k}", "linear", weight, bias, *shape, shape, in_out=True))
    scale = {name: np.full(value.shape, 0.05) for name, value in loc.items()}
    network, likelihood = Network(tuple(layers), "relu"), find_likelihood("categorical")
    inputs = torch.tensor(rng.standard_normal((points, sizes[0])))
    labels = torch.tensor(rng.integers(0, sizes[-1], points))
    prior = GaussianPrior({n: np.zeros(1) for n in loc}, {n: np.ones(1) for n in loc})
    return Trained(
        Posterior(loc, scale),
        prior,
        lambda weights, x: forward(network, weights, None, x),
        network,
        likelihood,
        inputs,
        likelihood.targets(labels, sizes[-1]),
        None,
    )


def main() -> None:
    """One line per network."""
    torch.set_num_threads(1)
    for sizes, points in CASES:
        posterior = trained(sizes, points)
        begin = time.process_time()
        measure(posterior, seed=0)
        print(sizes, points, f"{time.process_time() - begin:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
