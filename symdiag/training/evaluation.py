"""What a posterior is worth: evidence terms with intervals and test scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from symdiag.arrays import Array
from symdiag.diagnostics.collapse import Setting, removable
from symdiag.diagnostics.diagnosis import Coverage
from symdiag.estimate import Estimate
from symdiag.estimators import estimate_straddling
from symdiag.estimators.values import mean_and_error
from symdiag.objectives.likelihoods.interface import Scores
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.training.config import EvaluationConfig
from symdiag.training.learning_problem import LearningProblem, Points
from symdiag.training.randomness import generator_for
from symdiag.workers import Workers

# activations of the widest layer at once, 4 MB: they stay in the cache, and the allocator keeps
# them for the next ones instead of handing them back
_CHUNK = 500_000
_OUTPUTS = 12_500_000  # outputs held for the scores
_CHUNK_POINTS = 1024
# draws for H, and where H is so small that few draws may miss what makes it up
_LEAST, _LEAST_RARE = 64, 500
_RARE = 2.0  # nats
# and where every draw holds much of it: its mean and spread are soon known
_LEAST_COMMON, _COMMON = 8, 20.0  # draws, nats
_LEVELS = (0.5, 0.9, 0.95)  # of predictive intervals


@dataclass(frozen=True)
class Evaluation:
    """One posterior on the training data (nats, summed over points) and on the test data.

    ``symmetrized`` is L^G = L + log|G| − H. Its ``lower`` end takes the upper end of H(g|ω), hence
    is a lower bound on the log evidence up to Monte Carlo error; its ``upper`` end is not one.
    ``draws`` and ``point_nll`` are kept for paired comparison.
    """

    log_likelihood: Estimate
    kl: float
    elbo: Estimate
    straddling_entropy: Estimate
    symmetrized: Estimate
    active_units: int
    units: int
    noise_std: float | None
    test: Scores | None
    draws: NDArray[np.float64]  # (S,) log-likelihood of each draw
    point_nll: NDArray[np.float64] | None  # (N_test,)
    coverage: tuple[Coverage, ...] = ()


def evaluate(
    problem: LearningProblem,
    q: Variational,
    config: EvaluationConfig,
    *,
    entropy: Estimate | None = None,
    noise: Tensor | None = None,
    workers: Workers | None = None,
) -> Evaluation:
    """Evaluate ``q`` with draws that depend on the seed only: two posteriors' are paired.

    ``entropy`` is H(g|ω) where it is known already; ``noise`` (S, D) replaces the draws' own, to
    pair posteriors of different widths. ``workers``: processes that share the draws, for H too.
    """
    workers = workers or Workers()
    posterior = q.posterior(problem.posterior)
    noise = evaluation_noise(problem, config) if noise is None else noise
    with torch.no_grad():
        draws = problem.draws(q, noise)
        fit = _log_likelihoods(problem, q, draws, problem.train, workers).sum(1)
        test, point_nll = _test_scores(problem, q, draws, workers)
        covered = None if test is None else test.cdf
    kl = posterior.kl_to(problem.prior)
    entropy = entropy or certified_straddling(problem, posterior, config, workers)
    elbo, symmetrized = _bounds(problem, fit, kl, entropy)
    return Evaluation(
        log_likelihood=_estimate(fit),
        kl=kl,
        elbo=elbo,
        straddling_entropy=entropy,
        symmetrized=symmetrized,
        active_units=active_units(problem, posterior, config.seed),
        units=sum(group.width for group in problem.spec),
        noise_std=float(torch.exp(q.log_noise.detach())) if problem.likelihood.has_noise else None,
        test=test,
        draws=fit,
        point_nll=point_nll,
        coverage=() if covered is None else coverages(covered.double().cpu().numpy()),
    )


def symmetrized_elbo(
    problem: LearningProblem, q: Variational, config: EvaluationConfig, workers: Workers
) -> Estimate:
    """L^G of ``q`` as ``evaluate`` has it, without all the rest."""
    posterior = q.posterior(problem.posterior)
    with torch.no_grad():
        draws = problem.draws(q, evaluation_noise(problem, config))
        fit = _log_likelihoods(problem, q, draws, problem.train, workers).sum(1)
    entropy = certified_straddling(problem, posterior, config, workers)
    return _bounds(problem, fit, posterior.kl_to(problem.prior), entropy)[1]


def _bounds(
    problem: LearningProblem, fit: Array, kl: float, entropy: Estimate
) -> tuple[Estimate, Estimate]:
    """L and L^G."""
    elbo = shifted(_estimate(fit), -kl)
    return elbo, symmetrized_bound(elbo, entropy, problem.spec.log_order)


def certified_straddling(
    problem: LearningProblem,
    posterior: Posterior,
    config: EvaluationConfig,
    workers: Workers | None = None,
) -> Estimate:
    """H(g|ω) by the certified estimator, never from too few draws.

    Near separation H is an average of rare large values: the spread of a few draws says little
    about its error.
    """
    # a group without a permanent costs a sandwich a draw: hundreds of them would take minutes
    quick = all(group.is_matrix_permanent for group in problem.spec)

    def least(value: float) -> int:
        draws = _LEAST_COMMON if value > _COMMON else _LEAST
        return min(_LEAST_RARE if quick and value < _RARE else draws, config.samples)

    return estimate_straddling(
        posterior,
        problem.spec,
        seed=config.seed,
        precision=config.precision,
        budget=config.budget,
        device=problem.device,
        workers=workers,
        least=least,
    ).total


def symmetrized_bound(elbo: Estimate, entropy: Estimate, log_order: float) -> Estimate:
    """L + log|G| − H(g|ω): the two intervals' half-widths add, a conservative choice."""
    error = None
    if elbo.std_error is not None and entropy.std_error is not None:
        # weights for the fit and for H are drawn apart, so the variances add
        error = float(np.hypot(elbo.std_error, entropy.std_error))
    return Estimate(
        value=elbo.value + log_order - entropy.value,
        std_error=error,
        # crosswise: a bound on the evidence must not gain by an H that was found too small
        lower=elbo.lower + log_order - entropy.upper,
        upper=elbo.upper + log_order - entropy.lower,
        method=entropy.method,
        samples=min(elbo.samples, entropy.samples or elbo.samples),
        interval=entropy.interval,
    )


def active_units(problem: LearningProblem, posterior: Posterior, seed: int) -> int:
    """Units without which the mean function on the training inputs would change."""
    inputs = problem.train.inputs.double().cpu().numpy()
    setting = Setting(problem.forward, inputs=inputs, seed=seed)
    off = removable(posterior, problem.spec, setting).units
    return sum(group.width - int(off[group.name].sum()) for group in problem.spec)


def shifted(estimate: Estimate, by: float) -> Estimate:
    """The estimate of a quantity plus a constant."""
    return dataclasses.replace(
        estimate, value=estimate.value + by, lower=estimate.lower + by, upper=estimate.upper + by
    )


def evaluation_noise(problem: LearningProblem, config: EvaluationConfig) -> Tensor:
    """Standard normal noise (S, D), a function of the seed."""
    generator = generator_for(config.seed, "evaluation", 3)
    noise = generator.standard_normal((config.samples, problem.flat_prior.loc.numel()))
    return torch.from_numpy(noise).to(problem.flat_prior.loc)


def _estimate(values: NDArray[np.float64]) -> Estimate:
    mean, error = mean_and_error(values)
    slack = np.inf if error is None else 2.0 * error
    return Estimate(mean, error, mean - slack, mean + slack, "monte-carlo", len(values))


def _log_likelihoods(
    problem: LearningProblem, q: Variational, draws: Tensor, points: Points, workers: Workers
) -> NDArray[np.float64]:
    """(S, N), some at a time."""

    def compute(some: Tensor, points: Points) -> Tensor:
        return problem.point_log_likelihood(q, some, points).double().cpu()

    values: NDArray[np.float64] = _in_parts(problem, draws, points, compute, workers).numpy()
    return values


def _in_parts(
    problem: LearningProblem,
    draws: Tensor,
    points: Points,
    compute: Callable[..., Tensor],
    workers: Workers,
) -> Tensor:
    """``compute`` (s, n, ...) of some draws on some points, for all of them (S, N, ...).

    All of a wide layer's activations would not fit; draws are divided rather than points, since
    every part reads its draws' weights again.
    """
    widest = max((group.width for group in problem.spec), default=1)
    columns = []
    for start in range(0, len(points), _CHUNK_POINTS):
        end = min(start + _CHUNK_POINTS, len(points))
        chunk = points.take(torch.arange(start, end, device=points.inputs.device))
        size = max(1, _CHUNK // (len(chunk) * widest))
        parts = workers.map(partial(compute, points=chunk), torch.split(draws, size))
        columns.append(torch.cat(parts))
    return torch.cat(columns, dim=1)


def _test_scores(
    problem: LearningProblem, q: Variational, draws: Tensor, workers: Workers
) -> tuple[Scores | None, NDArray[np.float64] | None]:
    if problem.test is None:
        return None, None
    # the scores hold outputs (S, N, d) at once: fewer draws where there are many points
    keep = max(1, min(len(draws), _OUTPUTS // len(problem.test)))
    outputs = _in_parts(
        problem,
        draws[:keep],
        problem.test,
        lambda some, points: problem.forward(q.layout.split(some), points.inputs),
        workers,
    )
    log_noise = q.log_noise.detach()
    found = problem.likelihood.log_prob(outputs, problem.test.targets, log_noise)
    log_prob: NDArray[np.float64] = found.double().cpu().numpy()
    if keep < len(draws):
        rest = _log_likelihoods(problem, q, draws[keep:], problem.test, workers)
        log_prob = np.concatenate([log_prob, rest])
    # log-mean-exp over draws: the predictive density is a mixture, its log no mean of logs
    point_nll = np.log(len(draws)) - np.logaddexp.reduce(log_prob, axis=0)
    scores = problem.likelihood.scores(outputs, problem.test.targets, log_noise)
    return dataclasses.replace(scores, nll=float(point_nll.mean())), point_nll


def coverages(cdf: Array) -> tuple[Coverage, ...]:
    """Coverage of central predictive intervals, from the predictive CDF at the targets (N, d).

    The interval is Clopper and Pearson's with one trial per point: outputs of one point may all err
    together, so that d of them may be worth no more than one.
    """
    count = len(cdf)
    found = []
    for level in _LEVELS:
        # inside the central interval: as far from the median as half of the level at most
        share = float((np.abs(cdf - 0.5) <= 0.5 * level).mean())
        hits = share * count
        found.append(
            Coverage(
                level=level,
                share=share,
                lower=float(betaincinv(hits, count - hits + 1.0, 0.025)) if hits > 0 else 0.0,
                upper=float(betaincinv(hits + 1.0, count - hits, 0.975)) if hits < count else 1.0,
                points=count,
            )
        )
    return tuple(found)
