"""Importance weights of a posterior and of its symmetrised form, from the draws of its evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.diagnostics.diagnosis import Importance, ImportanceFit
from symdiag.estimators import importance as weights
from symdiag.estimators.straddling import DEFAULT_BUDGET
from symdiag.objectives.variational import Variational
from symdiag.training.config import EvaluationConfig
from symdiag.training.learning_problem import LearningProblem
from symdiag.training.randomness import generator_for
from symdiag.workers import Workers

_CHUNK = 2_000_000  # weights times draws held at once


def importance(
    problem: LearningProblem,
    q: Variational,
    config: EvaluationConfig,
    log_likelihood: Array,
    workers: Workers | None = None,
) -> Importance:
    """Importance weights of q and q^G, from the draws of ``evaluate``.

    Args:
        problem: Prior, data and group.
        q: The posterior.
        config: As ``evaluate`` had it; q^G is evaluated within half of its budget.
        log_likelihood: ``Evaluation.draws`` (S,).
        workers: Processes that share the work.
    """
    with torch.no_grad():
        ratios = [_log_prior_ratio(problem, q, noise) for noise in _noise_chunks(problem, config)]
    log_weights = log_likelihood + np.concatenate(ratios)
    plain = _fit(log_weights, "importance")
    if not len(problem.spec):
        return Importance(plain, None, "there is no symmetry")
    if problem.statistics:
        # p(D | ω) with statistics of one labelling is not invariant under relabelling ω alone
        return Importance(plain, None, "running statistics do not move with the units")
    ratio, method = weights.symmetrized_log_ratio(
        q.posterior(problem.posterior),
        problem.spec,
        (
            q.layout.split(problem.draws(q, noise).detach().double())
            for noise in _noise_chunks(problem, config)
        ),
        seed=config.seed,
        budget=0.5 * (config.budget or DEFAULT_BUDGET),
        device=problem.device,
        workers=workers,
    )
    if len(ratio) < weights.LEAST_DRAWS:
        least = f"{weights.LEAST_DRAWS} draws of q^G take more than half of the budget"
        return Importance(plain, None, f"{least}; raise --budget")
    return Importance(plain, _fit(log_weights[: len(ratio)] - ratio, f"importance+{method}"))


def _noise_chunks(problem: LearningProblem, config: EvaluationConfig) -> Iterator[Tensor]:
    """The rows of ``evaluation_noise``, some at a time: of a large net not all of them fit twice."""
    size = problem.flat_prior.loc.numel()
    most = max(1, min(32, _CHUNK // size))
    # one stream of numbers, whatever the cuts; the first tells what a draw costs
    generator = generator_for(config.seed, "evaluation", 3)
    left, count = config.samples, min(4, most)
    while left > 0:
        noise = generator.standard_normal((min(count, left), size))
        yield torch.from_numpy(noise).to(problem.flat_prior.loc)
        left, count = left - count, most


def _log_prior_ratio(problem: LearningProblem, q: Variational, noise: Tensor) -> Array:
    """log p(ω) − log q(ω) over the random weights of the draws with ``noise`` (s, D), (s,)."""
    free = 1.0 if q.free is None else q.free.double()
    log_q = -0.5 * (noise.double().square() + math.log(2.0 * math.pi)) - q.log_scale.double()
    terms = problem.flat_prior.log_density(problem.draws(q, noise)) - log_q  # (s, D)
    result: Array = (terms * free).sum(1).cpu().numpy()
    return result


def _fit(log_weights: Array, method: str) -> ImportanceFit:
    tail = weights.pareto_tail(log_weights)
    return ImportanceFit(
        pareto_k=None if tail is None else tail.shape,
        std_error=None if tail is None else tail.error,
        reliable_below=weights.reliable_below(len(log_weights)),
        effective_draws=weights.effective_draws(log_weights),
        bound=weights.evidence_bound(log_weights, tail, method),
    )
