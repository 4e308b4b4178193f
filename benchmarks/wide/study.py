"""One cell of the study: a task, a width, an activation and a seed, trained by every route.

The tasks are those of Coker et al. (2022), "Wide mean-field Bayesian neural networks ignore the data": one hidden
layer, standard normal prior, 1/√width inside the network, noise variance .025, 100 points. Every route spends the same
number of steps and weight draws, from the same seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from benchmarks.training.problems import mlp
from symdiag.estimators import estimate_straddling
from symdiag.network import forward
from symdiag.posterior import Posterior
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.evaluation import evaluate, evaluation_noise
from symdiag.training.learning_problem import LearningProblem, build_problem
from symdiag.training.loop import RunSettings, train

NOISE_VARIANCE = 0.025
POINTS, TEST_POINTS = 100, 1000
FUNCTIONS: dict[str, tuple[int, Callable]] = {
    "two_dim": (2, lambda x: x[:, 0] * np.sin(x[:, 1])),
    "sin100": (1, lambda x: np.sin(x[:, 0])),
    # no training point lies between -2 and 2 and every test point does
    "gap": (1, lambda x: np.sin(x[:, 0])),
}
ROUTES = (
    "plain",
    "best plain recipe",
    "symmetrised",
    "recipe, then symmetrised",
    "symmetrised from scratch",
)
SMALL_STD = math.exp(-3)
DRAWS, WIDE_DRAWS = 1000, 400  # of the fit and the scores, up to 500 units and beyond
SPREAD_DRAWS = 50
# of H(g|ω), up to 500 units and beyond: a spread of some nats between draws, against gains of hundreds
ENTROPY_DRAWS, ENTROPY_DRAWS_WIDE = 16, 4


@dataclass(frozen=True)
class Cell:
    """Which network on which data."""

    task: str
    activation: str
    width: int
    seed: int
    outputs: ClassVar[int] = 1

    @property
    def model(self) -> ModelConfig:
        """Likelihood and prior."""
        return ModelConfig("gaussian", math.sqrt(NOISE_VARIANCE), 1.0)

    def data(self) -> tuple[Dataset, Dataset]:
        """Seed 0 has the training points of the published runs; the test set is larger."""
        inputs, function = FUNCTIONS[self.task]
        rng = np.random.RandomState(self.seed)
        x = rng.uniform(-5, 5, (POINTS + TEST_POINTS, inputs))
        if self.task == "gap":
            x[:POINTS] = np.sign(x[:POINTS]) * (2 + 0.6 * np.abs(x[:POINTS]))
            x[POINTS:] *= 0.4
        y = function(x) + math.sqrt(NOISE_VARIANCE) * rng.randn(len(x))
        return Dataset(x[:POINTS], y[:POINTS]), Dataset(x[POINTS:], y[POINTS:])

    def problem(self, start: Posterior | None, std: float = 1.0) -> LearningProblem:
        """Training from ``start``, or from standard normal means with stds of about ``std``."""
        train, test = self.data()
        sizes = (train.inputs.shape[1], self.width, self.outputs)
        # signs of tanh units flip as well: only ReLU has permutations alone
        signed = self.activation == "tanh"
        blank, spec, network = mlp(sizes, self.activation, signed=signed)
        if start is None:
            rng = np.random.default_rng([self.seed, self.width])
            loc = {k: rng.standard_normal(v.shape) for k, v in blank.loc.items()}
            # their initial variances: inverse gamma with mean 1 and a spread of a tenth
            scale = {k: std / np.sqrt(rng.gamma(101, 0.01, v.shape)) for k, v in blank.loc.items()}
            start = Posterior(loc, scale)

        def scaled(weights, x):
            wide = {**weights, "fc2.weight": weights["fc2.weight"] / math.sqrt(self.width)}
            return forward(network, wide, None, x)

        return build_problem(start, spec, scaled, self.model, train, test)


class Routes:
    """Every way to a posterior that the study compares, each with ``2 * steps`` steps in all."""

    def __init__(self, cell: Cell, steps: int, rate: float, draws: int = 8) -> None:
        self.cell, self.steps, self.rate, self.draws = cell, steps, rate, draws

    def run(self, start, objective, *, std=1.0, steps=None, warm_up=False, weight=4.0):
        """Train from ``start`` (None: from scratch) → problem, posterior, CPU seconds."""
        problem = self.cell.problem(start, std)
        points = len(problem.train)
        steps = steps or self.steps
        config = TrainingConfig(
            objective=objective,
            steps=steps,
            learning_rate=self.rate,
            draws=self.draws,
            patience=0,
            interval=max(1, steps // 5),
            seed=self.cell.seed,
            kl_weight_start=0.1 if warm_up else 1.0,
            straddling_weight_start=weight,
        )
        began = time.process_time()
        size = problem.posterior.num_parameters
        q, _ = train(problem, config.resolved(points, size), RunSettings(objective))
        return problem, q, time.process_time() - began

    def all(self, names=ROUTES) -> Iterator[tuple[str, LearningProblem, object, float]]:
        """(route, problem, posterior, seconds) of the routes named, halves shared where they agree."""
        # the published K = 20 is no route of its own here: uniform elements of S_125 never come near
        # a draw, so its gradient is the plain one to the last digit (tried: 200 steps, same figures)
        halves = {"plain": "elbo", "symmetrised": "symmetrized"}
        if any(name in names for name in halves):
            problem, q, base = self.run(None, "elbo")
            straddled = q.posterior(problem.posterior)
        for name, objective in halves.items():
            if name in names:
                problem, q, seconds = self.run(straddled, objective)
                yield name, problem, q, base + seconds
        whole = {"std": SMALL_STD, "steps": 2 * self.steps, "warm_up": True}
        if "best plain recipe" in names:
            yield "best plain recipe", *self.run(None, "elbo", **whole)
        if "recipe, then symmetrised" in names:
            problem, q, base = self.run(None, "elbo", std=SMALL_STD, warm_up=True)
            problem, q, seconds = self.run(q.posterior(problem.posterior), "symmetrized")
            yield "recipe, then symmetrised", problem, q, base + seconds
        if "symmetrised from scratch" in names:
            yield "symmetrised from scratch", *self.run(None, "symmetrized", **whole)


def figures(problem, q, seed: int) -> dict[str, float]:
    """What one posterior is worth, H by the certified estimator; ``spread``: std of f at test inputs."""
    began = time.process_time()
    posterior = q.posterior(problem.posterior)
    wide = problem.spec.groups[0].width > 500
    draws = ENTROPY_DRAWS_WIDE if wide else ENTROPY_DRAWS
    entropy = estimate_straddling(posterior, problem.spec, samples=draws, seed=seed).total
    config = EvaluationConfig(samples=WIDE_DRAWS if wide else DRAWS, seed=seed)
    result = evaluate(problem, q, config, entropy=entropy)
    lg = result.symmetrized
    with torch.no_grad():
        draws = problem.draws(q, evaluation_noise(problem, config)[:SPREAD_DRAWS])
        f = problem.forward(q.layout.split(draws), problem.test.inputs)
    return {
        "L": result.elbo.value,
        "H": result.straddling_entropy.value,
        "LG": lg.value,
        "LG_error": lg.std_error,
        "LG_lower": lg.lower,
        "KL": result.kl,
        "active": result.active_units,
        "rmse": result.test.metric,
        "nll": result.test.nll,
        "spread": float(f.std(0).mean()),
        "evaluation_seconds": time.process_time() - began,
    }
