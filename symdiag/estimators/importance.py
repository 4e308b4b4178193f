r"""Importance weights p(D, ω)/q(ω): what they say of the fit, of log Z, and of q^G instead of q.

**Tail.** A generalised Pareto law fits the largest of S weights; its shape k̂ tells how many of their
moments exist: above 1/2 no variance, above 1 no mean. k̂ below min(1 − 1/log₁₀ S, 0.7) means that q is
near enough to the posterior for its weights to correct it (Vehtari et al. 2024; as a diagnostic of
variational inference Yao et al. 2018).

**Evidence.** E w = Z for any q that is positive wherever the posterior is, so E log (mean of w) ≤
log Z (Burda et al. 2016), and it exceeds log Z by t nats with probability e^−t at most (Markov),
whatever k̂ is.

**q^G.** ω ~ q and an invariant posterior make E_q[p/q^G] = Z as well. Where Σ_g q(g⁻¹ω)/q(ω) is not
summed exactly, the upper end of the sandwich stands for it: its inverse is unbiased for the inverse
of the sum (the identity is a draw of g given ω), so E w = Z still.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from torch import Tensor

from symdiag.arrays import Array
from symdiag.estimate import Estimate
from symdiag.estimators import budget as budgets
from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.estimators.joint import rest_of, size
from symdiag.estimators.values import DrawValues, add
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import PermutationSpec
from symdiag.workers import Workers

_FEWEST = 5  # exceedances that a tail can be fitted to
_PRIOR_SIZE, _PRIOR_SHAPE = 10.0, 0.5  # of k̂: worth ten exceedances (Vehtari et al. 2024, app. C)
_ROUNDING = 1e-9  # of the largest weight: what sums of logs leave
_CONFIDENCE = 20.0  # Markov: the mean of the weights exceeds this many Z in 5 % of cases at most

LEAST_DRAWS = 100
"""Draws below which no tail is fitted: fewer than twenty of them would be in it."""


@dataclass(frozen=True)
class Tail:
    """The generalised Pareto law of the largest weights; ``error`` is k̂'s standard error."""

    shape: float
    error: float
    size: int


def pareto_tail(log_weights: Array) -> Tail | None:
    """The tail of S weights, from their logs (S,); None where it has too few distinct values.

    The tail are the largest min(S/5, 3√S) (Vehtari et al. 2024).
    """
    ordered = np.sort(np.asarray(log_weights, dtype=np.float64))
    count = math.ceil(min(len(ordered) / 5.0, 3.0 * math.sqrt(len(ordered))))
    if len(ordered) <= count or not np.isfinite(ordered[-1]):
        return None
    # relative to the largest, which is 1 then: the shape does not depend on the scale
    scaled = np.exp(ordered - ordered[-1])
    excess = scaled[-count:] - scaled[-count - 1]
    excess = excess[excess > 0]
    # weights that differ by rounding alone have no tail: q is the posterior
    if len(excess) < _FEWEST or excess[-1] < _ROUNDING:
        return None
    shape = generalised_pareto(excess)[0]
    size = len(excess)
    shrunk = (size * shape + _PRIOR_SIZE * _PRIOR_SHAPE) / (size + _PRIOR_SIZE)
    # asymptotic variance (1 + k)²/n of the shape (Smith 1987), which the prior shrinks alike
    error = (1.0 + max(shrunk, 0.0)) * math.sqrt(size) / (size + _PRIOR_SIZE)
    return Tail(float(shrunk), error, size)


def generalised_pareto(excess: Array) -> tuple[float, float]:
    """Shape and scale of positive exceedances (n,), ascending, by Zhang and Stephens (2009).

    Their quasi-Bayesian estimate: with θ = −shape/scale the likelihood has its maximum over the
    shape in closed form, mean log(1 − θ x), and θ is averaged over a grid of quantiles of its prior,
    weighted by that profile likelihood.
    """
    size = len(excess)
    points = 30 + int(math.sqrt(size))
    quartile = excess[int(size / 4 + 0.5) - 1]
    ranks = np.arange(1, points + 1) - 0.5
    # (m,): below 1/max, where every 1 − θ x is positive
    grid = 1.0 / excess[-1] + (1.0 - np.sqrt(points / ranks)) / (3.0 * quartile)
    grid = grid[grid != 0.0]
    shapes = np.log1p(-np.outer(grid, excess)).mean(1)
    profile = size * (np.log(-grid / shapes) - shapes - 1.0)
    weights = np.exp(profile - logsumexp(profile))
    theta = float(grid @ weights)
    shape = float(np.log1p(-theta * excess).mean())
    return shape, -shape / theta


def reliable_below(count: int) -> float:
    """The shape up to which ``count`` weights can be trusted, min(1 − 1/log₁₀ S, 0.7)."""
    return min(1.0 - 1.0 / math.log10(count), 0.7)


def effective_draws(log_weights: Array) -> float:
    """(Σ w)²/Σ w², between 1 and S."""
    return float(np.exp(2.0 * logsumexp(log_weights) - logsumexp(2.0 * log_weights)))


def evidence_bound(log_weights: Array, tail: Tail | None, method: str) -> Estimate:
    """log mean w, on average a lower bound on log Z, nats.

    ``lower`` is below log Z in 95 % of cases: two standard errors where the tail is light enough for
    them to mean something, log 20 by Markov's inequality where it is not. ``upper`` bounds nothing
    but the Monte Carlo error.
    """
    count = len(log_weights)
    value = float(logsumexp(log_weights)) - math.log(count)
    # delta method: the relative error of the mean weight
    spread = np.exp(log_weights - value)
    error = float(spread.std(ddof=1)) / math.sqrt(count)
    trusted = tail is not None and tail.shape < reliable_below(count)
    below = 2.0 * error if trusted else max(2.0 * error, math.log(_CONFIDENCE))
    return Estimate(
        value, error, value - below, value + 2.0 * error, method, count, interval="expectation"
    )


def symmetrized_log_ratio(
    posterior: Posterior,
    spec: PermutationSpec,
    chunks: Iterable[Mapping[str, Tensor]],
    *,
    seed: int,
    budget: float,
    device: str = "cpu",
    workers: Workers | None = None,
) -> tuple[Array, str]:
    """log q^G(ω) − log q(ω) of the first draws that the budget allows, (S',), and how it was had.

    None at all, (0,), where the budget would end before ``LEAST_DRAWS``.

    Args:
        posterior: q.
        spec: Its verified permutation spec, on weights only.
        chunks: Draws from q: tensor name → (s, *shape), float64. The first should hold few draws:
            it tells what one costs.
        seed: Seed of the permanents' and the sandwich's randomness.
        budget: Nominal seconds (``budget.py``).
        device: Torch device for the slot densities.
        workers: Processes that share the chunks; the result is that of one process.
    """
    workers = workers or Workers()
    estimator = StraddlingEstimator(posterior, spec, effort=budgets.effort_for(spec), device=device)
    joint, fixed = estimator.wants_joint, _draw_seconds(estimator)
    parts: list[Array] = []
    methods: dict[str, None] = {}
    spent, done = 0.0, 0
    if fixed * LEAST_DRAWS > budget:
        return np.zeros(0), ""

    def values(chunk: tuple[int, Mapping[str, Tensor]]) -> DrawValues:
        start, own = chunk
        draws = {name: value.to("cpu" if joint else device) for name, value in own.items()}
        generator = np.random.default_rng([seed, 23, start])
        if joint:
            return estimator.joint(draws, estimator.elements, generator)
        return add([estimator.one_group(g, draws, generator, False) for g in spec])

    numbered, over = _numbered(chunks), False
    # a chunk for each process at a time; where the budget ends, what comes after is not used
    while not over and (some := list(itertools.islice(numbered, workers.world))):
        for found in workers.map(values, some):
            # exact draws have all their ends at the value
            parts.append(np.where(found.exact, found.value, found.expectation.upper))
            methods.update(dict.fromkeys(found.methods))
            done += len(found)
            spent += len(found) * fixed + budgets.seconds(float(found.operations.sum()))
            # the permanents' own cost is known from here on
            over = spent > budget or spent / done * LEAST_DRAWS > budget
            if over:
                break
    return np.concatenate(parts) - spec.log_order, "+".join(methods)


def _numbered(
    chunks: Iterable[Mapping[str, Tensor]],
) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    """Each chunk with the number of draws before it."""
    done = 0
    for chunk in chunks:
        yield done, chunk
        done += len(next(iter(chunk.values())))


def _draw_seconds(estimator: StraddlingEstimator) -> float:
    """Nominal seconds of one draw, permanents aside."""
    posterior, spec = estimator.posterior, estimator.spec
    if not estimator.wants_joint:
        return budgets.draw_cost(posterior, spec)
    if not estimator.enumerated:
        return budgets.sandwich_cost(posterior, spec, estimator.elements)
    elements = size(rest_of(posterior, spec)) + 100  # what one draw costs without any element
    return budgets.ENUMERATION_COST * elements * len(spec)
