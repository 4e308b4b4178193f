"""The problems of the training studies: data, network and group as one call each."""

from __future__ import annotations

import numpy as np

from symdiag.network import Layer, Network, forward
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import LearningProblem, build_problem, scratch
from symdiag.training.loop import RunSettings, train


def mlp(
    sizes: tuple[int, int, int], activation: str = "relu", *, signed: bool = False
) -> tuple[Posterior, PermutationSpec, Network]:
    """A one-hidden-layer network: a blank posterior, its group (with sign flips?), its architecture."""
    inputs, width, outputs = sizes
    shapes = {
        "fc1.weight": (width, inputs),
        "fc1.bias": (width,),
        "fc2.weight": (outputs, width),
        "fc2.bias": (outputs,),
    }
    blank = Posterior(
        {k: np.zeros(s) for k, s in shapes.items()}, {k: np.ones(s) for k, s in shapes.items()}
    )
    members = (Member("fc1.weight", 0), Member("fc1.bias", 0), Member("fc2.weight", 1))
    layers = (
        Layer("fc1", "linear", "fc1.weight", "fc1.bias", inputs, width, (width, inputs)),
        Layer("fc2", "linear", "fc2.weight", "fc2.bias", width, outputs, (outputs, width)),
    )
    return (
        blank,
        PermutationSpec((Group("fc1", width, members, signed),)),
        Network(layers, activation),
    )


def wave_data(seed: int, count: int, noise: float = 0.3) -> Dataset:
    """y = sin 2x + 0.3 x + noise, x ~ U(-3, 3)."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-3.0, 3.0, count)
    return Dataset(x[:, None], np.sin(2.0 * x) + 0.3 * x + noise * generator.standard_normal(count))


def digits_data(seed: int = 0) -> tuple[Dataset, Dataset]:
    """scikit-learn's 8x8 digits, pixels in [0, 1], 1400 for training."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x, y = digits.data[order] / 16.0, digits.target[order].astype(float)
    return Dataset(x[:1400], y[:1400]), Dataset(x[1400:], y[1400:])


def wave_problem(
    start: Posterior | None, seed: int, width: int = 20, points: int = 60
) -> LearningProblem:
    """The regression of the paper study; ``start`` None means from scratch."""
    blank, spec, network = mlp((1, width, 1))
    return build_problem(
        start or scratch(blank, seed),
        spec,
        lambda weights, inputs: forward(network, weights, None, inputs),
        ModelConfig("gaussian", 0.3, 1.0),
        wave_data(seed, points),
        wave_data(seed + 1000, 2000),
    )


def converged(problem: LearningProblem, steps: int, seed: int = 0) -> Posterior:
    """The posterior that plain variational inference reaches."""
    size = problem.posterior.num_parameters
    config = TrainingConfig(objective="elbo", steps=steps, patience=0, seed=seed).resolved(
        len(problem.train), size
    )
    q, _ = train(problem, config, RunSettings("elbo"))
    return q.posterior(problem.posterior)
