"""Cost of a symmetrised step beside a plain one with the same draws: ``python -m benchmarks.training.step_cost [wide]``.

``wide``: 500 and 1000 units, stds of 0.3, at which units straddle; also a network given as a module (``--model``) beside
the same one found in the file.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from benchmarks.training.problems import mlp, wave_data
from symdiag.network import forward
from symdiag.network.module import user_model
from symdiag.objectives.terms import build_objective
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem, scratch
from symdiag.training.loss import loss_terms
from symdiag.training.optimiser import Optimiser
from symdiag.workers import Workers

DRAWS = 8


def seconds_per_step(
    problem, objectives=("elbo", "symmetrized"), rounds=15, steps=12, batch=None, draws=DRAWS
):
    """Median CPU time over interleaved rounds, one figure per objective; other processes do not count."""
    config = TrainingConfig(draws=draws, batch_size=batch).resolved(
        len(problem.train), problem.posterior.num_parameters
    )
    runs = {}
    for name in objectives:
        q = problem.start()
        runs[name] = (q, build_objective(name, problem.spec, q), Optimiser(q, learn_noise=False))
    times = {name: [] for name in objectives}
    for round_ in range(rounds):
        for name, (q, objective, optimiser) in runs.items():
            began = time.thread_time()
            for step in range(steps):
                optimiser.zero_grad()
                loss_terms(
                    problem, q, objective, config, round_ * steps + step, Workers()
                ).loss.backward()
                optimiser.step(1e-3)
            times[name].append((time.thread_time() - began) / steps)
    return {name: float(np.median(t[2:])) for name, t in times.items()}


def problem_of(sizes, data, likelihood, activation="relu", std=None, module=None):
    """A one-hidden-layer problem from random means; ``module`` computes it where given."""
    blank, spec, network = mlp(sizes, activation, signed=activation == "tanh")
    run = lambda weights, inputs: forward(network, weights, None, inputs)  # noqa: E731
    model = ModelConfig(likelihood, 0.3 if likelihood == "gaussian" else None, 1.0)
    start = scratch(blank, 0)
    if std is not None:
        start = start.replace(scale={k: np.full(v.shape, std) for k, v in start.scale.items()})
    if module is not None:
        run = user_model(module, start).forward
    return build_problem(start, spec, run, model, data)


def module_of(inputs, width, outputs):
    """As a user writes it."""
    parts = [
        ("fc1", nn.Linear(inputs, width)),
        ("act", nn.Tanh()),
        ("fc2", nn.Linear(width, outputs)),
    ]
    return nn.Sequential(OrderedDict(parts))


def wide_problems():
    """Name → problem, batch size, draws."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-5, 5, (100, 2))
    plane = Dataset(x, x[:, 0] * np.sin(x[:, 1]))
    images = Dataset(generator.random((1024, 784)), generator.integers(0, 10, 1024).astype(float))
    found = {}
    for width in (500, 1000):
        sizes = (2, width, 1)
        for name, module in (("", None), (" (--model)", module_of(*sizes))):
            problem = problem_of(sizes, plane, "gaussian", "tanh", 0.3, module)
            found[f"2-{width}-1 tanh, 100 points{name}"] = (problem, None, 16)
        problem = problem_of(sizes, plane, "gaussian", "relu", 0.3)
        found[f"2-{width}-1 relu, 100 points"] = (problem, None, 16)
    large = problem_of((784, 1000, 10), images, "categorical")
    found["784-1000-10 relu, batches of 256"] = (large, 256, 8)
    return found


def problems(width=50):
    """Name → problem at the given width."""
    generator = np.random.default_rng(0)
    images = Dataset(generator.random((256, 64)), generator.integers(0, 10, 256).astype(float))
    large = Dataset(generator.random((256, 784)), generator.integers(0, 10, 256).astype(float))
    return {
        f"1-{width}-1, 200 points": problem_of((1, width, 1), wave_data(0, 200), "gaussian"),
        f"64-{width}-10, 256 points": problem_of((64, width, 10), images, "categorical"),
        f"784-{width}-10, 256 points": problem_of((784, width, 10), large, "categorical"),
    }


def main(wide=False):
    """The table."""
    torch.set_num_threads(1)
    print("| network | plain step, ms | symmetrised step, ms | ratio |\n|---|---|---|---|")
    narrow = {name: (problem, None, DRAWS) for name, problem in problems().items()}
    chosen = wide_problems() if wide else narrow
    for name, (problem, batch, draws) in chosen.items():
        few = {"rounds": 6, "steps": 4} if wide else {}
        found = seconds_per_step(problem, batch=batch, draws=draws, **few)
        plain, full = 1e3 * found["elbo"], 1e3 * found["symmetrized"]
        print(f"| {name} | {plain:.2f} | {full:.2f} | {full / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
