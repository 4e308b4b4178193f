"""Cost of a symmetrised step beside a plain one with the same draws: ``python -m benchmarks.training.step_cost``."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.training.problems import mlp, wave_data
from symdiag.network import forward
from symdiag.objectives.terms import build_objective
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem, scratch
from symdiag.training.loss import loss_terms
from symdiag.training.optimiser import Optimiser
from symdiag.training.processes import Workers

DRAWS = 8


def seconds_per_step(problem, objectives=("elbo", "symmetrized"), rounds=15, steps=12):
    """Median CPU time over interleaved rounds, one figure per objective; other processes do not count."""
    config = TrainingConfig(draws=DRAWS).resolved(
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


def problem_of(sizes, data, likelihood):
    """A one-hidden-layer problem from random means."""
    blank, spec, network = mlp(sizes)
    run = lambda weights, inputs: forward(network, weights, None, inputs)  # noqa: E731
    model = ModelConfig(likelihood, 0.3 if likelihood == "gaussian" else None, 1.0)
    return build_problem(scratch(blank, 0), spec, run, model, data)


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


def main() -> None:
    torch.set_num_threads(1)
    print("| network | plain step, ms | symmetrised step, ms | ratio |\n|---|---|---|---|")
    for name, problem in problems().items():
        found = seconds_per_step(problem)
        plain, full = 1e3 * found["elbo"], 1e3 * found["symmetrized"]
        print(f"| {name} | {plain:.2f} | {full:.2f} | {full / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
