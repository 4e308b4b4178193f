"""The straight path between two posteriors: ELBO and predictive NLL along it, and the barrier.

Means and stds are interpolated linearly, which for mean-field Gaussians is the 2-Wasserstein geodesic. The barrier is
marginalised over the posterior, as in Rossi, Singh & Hannagan (2023): the largest excess of the NLL of the posterior
predictive over the straight line between the two ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from symdiag.posterior import Array, GaussianPrior, Posterior

LogLikelihood = Callable[[Mapping[str, Array]], Array]
"""Weight draws and buffers, name → (S, *shape), to pointwise log-likelihoods (S, N), nats."""


@dataclass(frozen=True)
class Path:
    """What was measured at each position t from the model (0) to the reference (1).

    ``nll``: −1/N Σ_n log E_q p(y_n|x_n, ω), nats per point. ``elbo``: E_q log p(Y|X, ω) − KL(q‖prior), nats over the
    data set; without a prior, the expected log-likelihood alone.
    """

    positions: tuple[float, ...]
    nll: tuple[float, ...]
    elbo: tuple[float, ...]

    @property
    def barrier(self) -> float:
        """Largest excess of ``nll`` over the line between its ends, nats per point (0 if none)."""
        return _excess(np.array(self.positions), np.array(self.nll))

    @property
    def elbo_barrier(self) -> float:
        """Largest shortfall of ``elbo`` below the line between its ends, nats (0 if none)."""
        return _excess(np.array(self.positions), -np.array(self.elbo))


def interpolate(model: Posterior, reference: Posterior, position: float) -> Posterior:
    """The posterior a fraction ``position`` of the way: means and stds interpolated, correlations dropped."""

    def mix(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, Array]:
        return {name: (1.0 - position) * first[name] + position * second[name] for name in first}

    loc, scale = mix(model.loc, reference.loc), mix(model.scale, reference.scale)
    moving = {n for n, b in model.buffers.items() if n in reference.buffers and _is_float(b)}
    buffers = {**model.buffers, **mix({n: model.buffers[n] for n in moving}, reference.buffers)}
    return Posterior(loc, scale, buffers=buffers)


def _is_float(array: Array) -> bool:
    return np.issubdtype(np.asarray(array).dtype, np.floating)


def path_between(
    model: Posterior,
    reference: Posterior,
    log_likelihood: LogLikelihood,
    *,
    prior: GaussianPrior | None = None,
    points: int = 11,
    samples: int = 32,
    seed: int = 0,
) -> Path:
    """ELBO and predictive NLL at ``points`` evenly spaced positions, the same noise at all of them.

    Args:
        model: the posterior at position 0, (already) aligned or not.
        reference: the posterior at position 1.
        log_likelihood: see ``LogLikelihood``.
        prior: for the KL term.
        points: number of positions, ends included.
        samples: weight draws per position.
        seed: of the weight draws.
    """
    positions = np.linspace(0.0, 1.0, points)
    nll, elbo = [], []
    for position in positions:
        between = interpolate(model, reference, float(position))
        pointwise = log_likelihood(draw(between, samples, seed))
        nll.append(-float(log_predictive(pointwise).mean()))
        elbo.append(float(pointwise.sum(axis=1).mean()) - (between.kl_to(prior) if prior else 0.0))
    return Path(tuple(float(t) for t in positions), tuple(nll), tuple(elbo))


def draw(posterior: Posterior, samples: int, seed: int) -> dict[str, Array]:
    """Weight draws (S, *shape), and the buffers, repeated S times."""
    buffers = {n: np.broadcast_to(b, (samples, *np.shape(b))) for n, b in posterior.buffers.items()}
    return {**buffers, **posterior.sample(np.random.default_rng(seed), samples)}


def log_predictive(pointwise: Array) -> Array:
    """log of the mean likelihood over draws, (S, N) → (N,)."""
    result: Array = logsumexp(pointwise, axis=0) - np.log(len(pointwise))
    return result


def function_gap(
    model: Posterior,
    reference: Posterior,
    log_likelihood: LogLikelihood,
    *,
    samples: int = 32,
    seed: int = 0,
) -> float:
    """Mean absolute difference of the two pointwise predictive log-likelihoods, nats per point."""
    ends = [log_predictive(log_likelihood(draw(p, samples, seed))) for p in (model, reference)]
    return float(np.abs(ends[0] - ends[1]).mean())


def _excess(positions: Array, values: Array) -> float:
    line = (1.0 - positions) * values[0] + positions * values[-1]
    return float(max(0.0, (values - line).max()))
