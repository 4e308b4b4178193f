"""One optimiser step: draws, batch, loss, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from symdiag.objectives.interface import Objective
from symdiag.objectives.variational import Variational, gaussian_kl
from symdiag.training.config import TrainingConfig
from symdiag.training.problem import Problem
from symdiag.training.streams import batch_indices, stream
from symdiag.training.workers import Workers


@dataclass(frozen=True)
class Terms:
    """The parts of the loss of one step, nats: loss = kl − log_likelihood + term, with the config's weights."""

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    term: Tensor


def step_noise(problem: Problem, config: TrainingConfig, step: int, workers: Workers) -> Tensor:
    """Standard normal noise for this process's share of the step's draws, (S / world, D)."""
    assert config.draws is not None
    share = max(1, config.draws // workers.world)
    generator = stream(config.seed, "noise", step, workers.rank)
    noise = generator.standard_normal((share, problem.flat_prior.loc.numel()))
    return torch.from_numpy(noise).to(problem.flat_prior.loc)


def step_terms(
    problem: Problem,
    q: Variational,
    objective: Objective,
    config: TrainingConfig,
    step: int,
    workers: Workers,
) -> Terms:
    """The loss of one step on this process's batch and draws; its average over processes is the objective."""
    assert config.batch_size is not None
    index = batch_indices(
        len(problem.train),
        config.batch_size,
        config.seed,
        step,
        rank=workers.rank,
        world=workers.world,
    )
    points = problem.train.take(
        None if index is None else torch.from_numpy(index).to(problem.device)
    )
    shard = len(range(workers.rank, len(problem.train), workers.world))
    draws = problem.draws(q, step_noise(problem, config, step, workers))
    fit = problem.log_likelihood(q, draws, points).mean() * (shard * workers.world / len(points))
    kl = gaussian_kl(q, problem.flat_prior)
    term = objective.term(q, draws, stream(config.seed, "marginals", step, workers.rank))
    loss = config.kl_weight(step) * (kl + config.term_weight(step) * term) - fit
    return Terms(loss, fit, kl, term)
