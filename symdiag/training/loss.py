"""The loss of one step, and the objective on a fixed set of draws and points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from symdiag.objectives.element_term import group_term
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.terms import Objective
from symdiag.objectives.variational import Variational, gaussian_kl
from symdiag.training.config import TrainingConfig
from symdiag.training.learning_problem import LearningProblem, Points
from symdiag.training.processes import Workers
from symdiag.training.randomness import batch_indices, generator_for

_DRAWS = 32
_POINTS = 2048
_ROWS = 256  # over which the permanents of one look spread, two draws at least
_FEWEST = 2
_OF_ELEMENTS = 4  # draws of groups without a permanent


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
    """Standard normal noise for this process's share of the step's draws, (S / world, D)."""
    assert config.draws is not None
    share = max(1, config.draws // workers.world)
    generator = generator_for(config.seed, "noise", step, workers.rank)
    # float64 on the CPU, then cast: the same numbers for every dtype and device
    noise = generator.standard_normal((share, problem.flat_prior.loc.numel()))
    return torch.from_numpy(noise).to(problem.flat_prior.loc)


def loss_terms(
    problem: LearningProblem,
    q: Variational,
    objective: Objective,
    config: TrainingConfig,
    step: int,
    workers: Workers,
) -> LossTerms:
    """The loss of one step on this process's batch and draws; averaged over them it is −L^G."""
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
    # N/B of the whole batch, as each process sees it: its shard of the points times the processes
    shard = len(range(workers.rank, len(problem.train), workers.world))
    draws = problem.draws(q, step_noise(problem, config, step, workers))
    fit = problem.log_likelihood(q, draws, points).mean() * (shard * workers.world / len(points))
    kl = gaussian_kl(q, problem.flat_prior)
    term = objective.term(q, draws, generator_for(config.seed, "marginals", step, workers.rank))
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

    def __init__(self, problem: LearningProblem, seed: int) -> None:
        self.problem = problem
        self.seed = seed
        noise = generator_for(seed, "evaluation").standard_normal(
            (_DRAWS, problem.flat_prior.loc.numel())
        )
        self._noise = torch.from_numpy(noise).to(problem.flat_prior.loc)
        self._points, self._factor = _subset(problem.train, seed)
        start = problem.start()
        self._terms = tuple(group_term(group, start, "auto") for group in problem.spec)

    def __call__(self, q: Variational) -> Snapshot:
        """The terms for the current parameters."""
        with torch.no_grad():
            draws = self.problem.draws(q, self._noise)
            fit = self.problem.log_likelihood(q, draws, self._points).mean() * self._factor
            kl = gaussian_kl(q, self.problem.flat_prior)
            entropy = self._entropy(q, draws)
        return Snapshot(float(fit), float(kl), entropy, self.problem.spec.log_order)

    def _entropy(self, q: Variational, draws: torch.Tensor) -> float:
        # made anew at every look, so that the permanents see the same randomness each time
        generator = generator_for(self.seed, "evaluation", 1)
        total = 0.0
        for group, term in zip(self.problem.spec, self._terms, strict=True):
            # watching must not cost more than training: fewer draws of wide groups, the same in
            # every look, so that what differs between two looks is the posterior
            if isinstance(term, GroupTerm):
                seen = draws[: max(_FEWEST, _ROWS // group.width)]
                total += float(term.values(q.loc, q.scale, seen, generator).mean())
            else:
                total += float(term(q.loc, q.scale, draws[:_OF_ELEMENTS], generator))
        return total


def _subset(points: Points, seed: int) -> tuple[Points, float]:
    """At most ``_POINTS`` of the points, and the factor from their sum to the sum over all."""
    if len(points) <= _POINTS:
        return points, 1.0
    chosen = generator_for(seed, "evaluation", 2).choice(len(points), _POINTS, replace=False)
    return points.take(torch.from_numpy(chosen).to(points.inputs.device)), len(points) / _POINTS
