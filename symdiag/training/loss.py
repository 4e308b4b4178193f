"""The loss of one step, and the objective on a fixed set of draws and points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.objectives.element_term import group_term
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.priors import total_kl
from symdiag.objectives.terms import Objective
from symdiag.objectives.variational import Variational
from symdiag.training.config import TrainingConfig
from symdiag.training.learning_problem import LearningProblem, Points
from symdiag.training.randomness import batch_indices, generator_for
from symdiag.workers import Workers

_DRAWS = 32
_POINTS = 2048
_ROWS = 256  # over which the permanents of one look spread, one draw at least
_OF_ELEMENTS = 4  # draws of groups without a permanent
_OWN_STREAM = 10_000  # weights from which a draw's noise costs more than a stream of its own


@dataclass(frozen=True)
class LossTerms:
    """The loss of one step, nats: kl − log_likelihood + term, with the config's weights."""

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    term: Tensor


def step_noise(
    problem: LearningProblem, config: TrainingConfig, step: int, workers: Workers
) -> Tensor:
    """Standard normal noise for this process's share of the step's draws, (S / world, D).

    Draw s is the same one whatever the number of processes.
    """
    assert config.draws is not None
    share, size = workers.share(config.draws), problem.flat_prior.loc.numel()
    # float64 on the CPU, then cast: the same numbers for every dtype and device
    if size < _OWN_STREAM:
        generator = generator_for(config.seed, "noise", step)
        noise = generator.standard_normal((share.total, size))[share.picked]
    else:
        own = range(share.total)[share.picked]
        streams = (generator_for(config.seed, "noise", step, draw) for draw in own)
        noise = np.stack([stream.standard_normal(size) for stream in streams])
    return torch.from_numpy(noise).to(problem.flat_prior.loc)


def loss_terms(
    problem: LearningProblem,
    q: Variational,
    objective: Objective,
    config: TrainingConfig,
    step: int,
    workers: Workers,
) -> LossTerms:
    """The loss of one step on its batch and this process's draws, weighted by their share.

    Its mean over processes is −L^G by all draws of the step: that of one process.
    """
    assert config.batch_size is not None
    assert config.draws is not None
    index = batch_indices(len(problem.train), config.batch_size, config.seed, step)
    points = problem.train.take(
        None if index is None else torch.from_numpy(index).to(problem.device)
    )
    share = workers.share(config.draws)
    draws = problem.draws(q, step_noise(problem, config, step, workers))
    scale = share.weight(share.total) * len(problem.train) / len(points)
    fit = problem.log_likelihood(q, draws, points).mean() * scale
    kl = total_kl(q, problem.flat_prior)
    term = objective.term(q, draws, generator_for(config.seed, "marginals", step), share)
    loss = config.kl_weight(step) * (kl + config.straddling_weight(step) * term) - fit
    return LossTerms(loss, fit, kl, term)


@dataclass(frozen=True)
class Snapshot:
    """Terms of the objective at one moment, nats over the whole training set."""

    log_likelihood: float
    kl: float
    straddling_entropy: float
    log_order: float

    @property
    def elbo(self) -> float:
        """E log p(y|ω) − KL."""
        return self.log_likelihood - self.kl

    @property
    def symmetrized(self) -> float:
        """L + log|G| − Σ_l H_l."""
        return self.elbo + self.log_order - self.straddling_entropy


class Monitor:
    """Evaluates with the same noise and points every time: differences over time are no noise.

    Cheap and slightly optimistic beside the certified evaluation (``evaluate``): it decides when to
    stop, and nothing that is reported.
    """

    def __init__(self, problem: LearningProblem, seed: int, workers: Workers | None = None) -> None:
        self.problem = problem
        self.seed = seed
        self.workers = workers or Workers()
        self._share = self.workers.share(_DRAWS)
        noise = generator_for(seed, "evaluation").standard_normal(
            (self._share.total, problem.flat_prior.loc.numel())
        )
        self._noise = torch.from_numpy(noise[self._share.picked]).to(problem.flat_prior.loc)
        self._points, self._factor = _subset(problem.train, seed)
        start = problem.start()
        self._terms = tuple(group_term(group, start, "auto") for group in problem.spec)

    def __call__(self, q: Variational) -> Snapshot:
        """The terms for the current parameters."""
        with torch.no_grad():
            draws = self.problem.draws(q, self._noise)
            fit = self.problem.log_likelihood(q, draws, self._points).sum()
            kl = total_kl(q, self.problem.flat_prior)
            entropy = self._entropy(q, draws)
        # summed over processes: all see the same numbers, hence stop at the same step
        own = (float(fit) / self._share.total, entropy, float(kl) / self.workers.world)
        mean, entropy, kl_value = self.workers.sum(own)
        return Snapshot(mean * self._factor, kl_value, entropy, self.problem.spec.log_order)

    def _entropy(self, q: Variational, draws: torch.Tensor) -> float:
        """This process's part of the sum over groups of means over draws."""
        # made anew at every look, so that the permanents see the same randomness each time
        generator = generator_for(self.seed, "evaluation", 1, self._share.rank)
        total = 0.0
        for group, term in zip(self.problem.spec, self._terms, strict=True):
            # watching must not cost more than training: fewer draws of wide groups, the same in
            # every look, so that what differs between two looks is the posterior
            sampled = isinstance(term, GroupTerm)
            most = max(1, _ROWS // group.width) if sampled else _OF_ELEMENTS
            count = min(most, self._share.total)
            seen = draws[: self._share.here(count)]
            if isinstance(term, GroupTerm) and len(seen):
                total += float(term.values(q.loc, q.scale, seen, generator).sum()) / count
            elif len(seen):
                found = term(q.loc, q.scale, seen, generator)
                total += float(found) * len(seen) / count
        return total


def _subset(points: Points, seed: int) -> tuple[Points, float]:
    """At most ``_POINTS`` of the points, and the factor from their sum to the sum over all."""
    if len(points) <= _POINTS:
        return points, 1.0
    chosen = generator_for(seed, "evaluation", 2).choice(len(points), _POINTS, replace=False)
    return points.take(torch.from_numpy(chosen).to(points.inputs.device)), len(points) / _POINTS
