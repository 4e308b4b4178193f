"""A few more optimiser steps at a given weight of the KL, in memory."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from symdiag.diagnostics.kl_weight.conventions import tensor_weights
from symdiag.diagnostics.kl_weight.result import KlWeight
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.training.config import TrainingConfig
from symdiag.training.learning_problem import LearningProblem
from symdiag.training.optimiser import Optimiser, learning_rate
from symdiag.training.randomness import batch_indices, generator_for

_LOOK = 64  # draws that the gain is measured on


def continued(
    problem: LearningProblem, weight: KlWeight, *, steps: int, seed: int
) -> tuple[Posterior, float]:
    """The posterior after ``steps`` of E[log p] − T·KL from where it is, and the gain, nats.

    Adam with ``retrain``'s own defaults for the sizes of data and network, its rate falling to 0.
    The noise std stays at the one that T was read with.
    """
    q = problem.start()
    if weight.noise_std is not None:
        with torch.no_grad():
            q.log_noise.fill_(math.log(weight.noise_std))
    config = TrainingConfig(objective="elbo", steps=steps, seed=seed).resolved(
        len(problem.train), problem.posterior.num_parameters
    )
    factors = _factors(problem, q, weight)
    before = _objective(problem, q, factors, seed)
    optimiser = Optimiser(q, learn_noise=False)
    assert config.learning_rate is not None
    for step in range(steps):
        optimiser.zero_grad()
        _loss(problem, q, factors, config, step).backward()  # type: ignore[no-untyped-call]
        optimiser.step(learning_rate(step, steps, config.learning_rate, config.warmup))
    gain = _objective(problem, q, factors, seed) - before
    return q.posterior(problem.posterior), gain


def _factors(problem: LearningProblem, q: Variational, weight: KlWeight) -> Tensor:
    """T of every weight (D,): by the convention that fits, the same for all where that is the sum."""
    by_tensor = tensor_weights(weight, q.layout.shapes)
    return torch.tensor(by_tensor).to(problem.flat_prior.loc)


def _weighted_kl(problem: LearningProblem, q: Variational, factors: Tensor) -> Tensor:
    terms = problem.flat_prior.kl_terms(q)
    return (factors * (terms if q.free is None else terms * q.free)).sum()


def _loss(
    problem: LearningProblem, q: Variational, factors: Tensor, config: TrainingConfig, step: int
) -> Tensor:
    assert config.batch_size is not None
    assert config.draws is not None
    index = batch_indices(len(problem.train), config.batch_size, config.seed, step)
    points = problem.train.take(None if index is None else torch.from_numpy(index))
    noise = generator_for(config.seed, "noise", step).standard_normal((config.draws, len(q.loc)))
    draws = problem.draws(q, torch.from_numpy(noise).to(q.loc))
    fit = problem.log_likelihood(q, draws, points).mean() * (len(problem.train) / len(points))
    return _weighted_kl(problem, q, factors) - fit


def _objective(problem: LearningProblem, q: Variational, factors: Tensor, seed: int) -> float:
    """With the same draws at every call: the difference of two is no noise."""
    noise: np.ndarray = generator_for(seed, "evaluation", 7).standard_normal((_LOOK, len(q.loc)))
    with torch.no_grad():
        draws = problem.draws(q, torch.from_numpy(noise).to(q.loc))
        fit = problem.log_likelihood(q, draws, problem.train).mean()
        return float(fit - _weighted_kl(problem, q, factors))
