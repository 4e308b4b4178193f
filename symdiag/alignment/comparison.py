"""What an alignment says about two posteriors: how much was relabelling, and are they the same?

Criteria (docs/alignment.md):

- *same mode up to symmetry*: after alignment the means differ by no more than the posteriors' own
  uncertainty: the root mean square of z = (μ − μ')/√(σ² + σ'²) over informative weights (|μ| > σ in
  either posterior) is at most 1. Without any std the means must explain 99 % of each other: Σ(μ −
  μ')² ≤ 0.01 · ½ Σ(μ² + μ'²).
- *same function, different mode*: not so, but on the data given the pointwise predictive
  log-likelihoods differ by at most 0.1 nats on average, two standard errors included, and the mean
  outputs by no more than the posteriors' own uncertainty of them (RMS at most 1).
- *different*: neither; or the functions were not compared, which ``functions`` None says.

On the straight path between two posteriors means and stds are interpolated linearly, which for
mean-field Gaussians is the 2-Wasserstein geodesic. The barrier is marginalised over the posterior,
as in Rossi, Singh & Hannagan (2023): the largest excess of the NLL of the posterior predictive over
the straight line between the two ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import logsumexp

from symdiag.arrays import Array
from symdiag.posterior import Posterior
from symdiag.priors import Prior
from symdiag.symmetry.elements import Element

Verdict = Literal["same mode up to symmetry", "same function, different mode", "different"]

MAX_STANDARD_DIFFERENCE = 1.0
MAX_UNEXPLAINED = 0.01
MAX_FUNCTION_GAP = 0.1


@dataclass(frozen=True)
class Churn:
    """How much one group was relabelled.

    ``transpositions`` is the least number of swaps that undo the permutation, n − its number of
    cycles; ``moved`` the number of units not in their place; ``flipped`` the number whose sign
    changed.
    """

    transpositions: int
    moved: int
    flipped: int


def churn(element: Element) -> Churn:
    """Counts of one group element."""
    permutation = element.permutation
    moved = int((permutation != np.arange(len(permutation))).sum())
    return Churn(
        len(permutation) - _cycles(permutation.tolist()), moved, int((element.signs < 0).sum())
    )


def _cycles(permutation: list[int]) -> int:
    seen, cycles = [False] * len(permutation), 0
    for start in range(len(permutation)):
        cycles += not seen[start]
        unit = start
        while not seen[unit]:
            seen[unit] = True
            unit = permutation[unit]
    return cycles


@dataclass(frozen=True)
class Closeness:
    """Two posteriors compared weight by weight, as they stand.

    ``standard_difference``: root mean square of z over informative weights; None when there is no
        informative weight
    with a std. ``unexplained``: Σ(μ − μ')² over ½ Σ(μ² + μ'²), all weights; 0 when all means are
        zero.
    """

    standard_difference: float | None
    unexplained: float


def closeness(model: Posterior, reference: Posterior) -> Closeness:
    """How far apart two posteriors are, relative to their own uncertainty and size."""
    squares, count, difference, size = 0.0, 0, 0.0, 0.0
    for name in model.names:
        loc, other = model.loc[name], reference.loc[name]
        gap = (loc - other) ** 2
        difference += float(gap.sum())
        size += 0.5 * (float(np.vdot(loc, loc)) + float(np.vdot(other, other)))
        scale, other_scale = model.scale[name], reference.scale[name]
        if not (scale.any() or other_scale.any()):
            continue
        informative = (np.abs(loc) > scale) | (np.abs(other) > other_scale)
        informative &= (scale > 0) | (other_scale > 0)
        squares += float((gap[informative] / (scale**2 + other_scale**2)[informative]).sum())
        count += int(informative.sum())
    return Closeness(
        float(np.sqrt(squares / count)) if count else None, difference / size if size else 0.0
    )


@dataclass(frozen=True)
class FunctionGap:
    """How far two posteriors' functions lie apart on data.

    Attributes:
        nats: mean absolute difference of the pointwise predictive log-likelihoods, per point.
        error: standard error of that mean over the points.
        outputs: root mean square of the difference of the mean outputs, in stds of the two
            posteriors' outputs together; None where no output varies.
    """

    nats: float
    error: float
    outputs: float | None

    @property
    def is_small(self) -> bool:
        """Whether the functions are the same as far as data and posteriors can tell."""
        near = self.outputs is None or self.outputs <= MAX_STANDARD_DIFFERENCE
        return near and self.nats + 2.0 * self.error <= MAX_FUNCTION_GAP


def judge(aligned: Closeness, functions: FunctionGap | None = None) -> Verdict:
    """The verdict by the criteria above; ``functions`` is None where they were not compared."""
    near = aligned.unexplained <= MAX_UNEXPLAINED
    if aligned.standard_difference is not None:
        near = aligned.standard_difference <= MAX_STANDARD_DIFFERENCE
    if near:
        return "same mode up to symmetry"
    if functions is not None and functions.is_small:
        return "same function, different mode"
    return "different"


LogLikelihood = Callable[[Mapping[str, Array]], Array]
"""Weight draws and buffers, name → (S, *shape), to pointwise log-likelihoods (S, N), nats."""

Outputs = Callable[[Mapping[str, Array]], Array]
"""The same to the network's outputs (S, N, d)."""


@dataclass(frozen=True)
class StraightPath:
    """What was measured at each position t from the model (0) to the reference (1).

    ``nll``: −1/N Σ_n log E_q p(y_n|x_n, ω), nats per point. ``elbo``: E_q log p(Y|X, ω) −
        KL(q‖prior), nats over the
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
    """The posterior a fraction ``position`` of the way: means and stds interpolated, correlations
    dropped.
    """

    def mix(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, Array]:
        return {name: (1.0 - position) * first[name] + position * second[name] for name in first}

    loc, scale = mix(model.loc, reference.loc), mix(model.scale, reference.scale)
    moving = {n for n, b in model.buffers.items() if n in reference.buffers and _is_float(b)}
    buffers = {**model.buffers, **mix({n: model.buffers[n] for n in moving}, reference.buffers)}
    return Posterior(loc, scale, buffers=buffers)


def _is_float(array: Array) -> bool:
    return np.issubdtype(np.asarray(array).dtype, np.floating)


Noise = Mapping[str, Array]
"""Standard normal variates of weight draws, name → (S, *shape)."""


def path_between(
    model: Posterior,
    reference: Posterior,
    log_likelihood: LogLikelihood,
    *,
    prior: Prior | None = None,
    noise: tuple[Noise, Noise] | None = None,
    points: int = 11,
    samples: int = 32,
    seed: int = 0,
) -> StraightPath:
    """ELBO and predictive NLL at ``points`` evenly spaced positions.

    Args:
        model: the posterior at position 0, (already) aligned or not.
        reference: the posterior at position 1.
        log_likelihood: see ``LogLikelihood``.
        prior: for the KL term.
        noise: of the draws at position 0 and at position 1; between them, a share of the draws as
            large as the position has the latter. Paths of one model before and after relabelling
            then meet at both ends (``path_noise``). By default all positions have the same.
        points: number of positions, ends included.
        samples: weight draws per position.
        seed: of the weight draws.
    """
    if noise is None:
        common = path_noise(model, samples, seed)
        noise = (common, common)
    positions = np.linspace(0.0, 1.0, points)
    nll, elbo = [], []
    for position in positions:
        between = interpolate(model, reference, float(position))
        pointwise = log_likelihood(_drawn(between, *noise, float(position)))
        nll.append(-float(log_predictive(pointwise).mean()))
        elbo.append(float(pointwise.sum(axis=1).mean()) - (between.kl_to(prior) if prior else 0.0))
    return StraightPath(tuple(float(t) for t in positions), tuple(nll), tuple(elbo))


def path_noise(
    posterior: Posterior,
    samples: int,
    seed: int,
    relabel: Callable[[dict[str, Array]], dict[str, Array]] | None = None,
) -> dict[str, Array]:
    """Noise of weight draws; moved by ``relabel`` with the posterior that it is for.

    A relabelled posterior with noise relabelled alike draws the same networks as before.
    """
    generator = np.random.default_rng(seed)
    shapes = posterior.shapes.items()
    made = {name: generator.standard_normal((samples, *shape)) for name, shape in shapes}
    if relabel is None:
        return made
    moved = [relabel({name: values[s] for name, values in made.items()}) for s in range(samples)]
    return {name: np.stack([draw[name] for draw in moved]) for name in made}


def _drawn(between: Posterior, start: Noise, end: Noise, position: float) -> dict[str, Array]:
    """Weight draws and buffers at a position, (S, *shape)."""
    samples = len(next(iter(start.values())))
    turned = round(position * samples)  # draws stay independent: each has one noise or the other
    weights = {
        name: loc + between.scale[name] * np.concatenate([end[name][:turned], start[name][turned:]])
        for name, loc in between.loc.items()
    }
    return {**_repeated(between, samples), **weights}


def _repeated(posterior: Posterior, samples: int) -> dict[str, Array]:
    return {n: np.broadcast_to(b, (samples, *np.shape(b))) for n, b in posterior.buffers.items()}


def draw(posterior: Posterior, samples: int, seed: int) -> dict[str, Array]:
    """Weight draws (S, *shape), and the buffers, repeated S times."""
    sampled = posterior.sample(np.random.default_rng(seed), samples)
    return {**_repeated(posterior, samples), **sampled}


def log_predictive(pointwise: Array) -> Array:
    """log of the mean likelihood over draws, (S, N) → (N,)."""
    result: Array = logsumexp(pointwise, axis=0) - np.log(len(pointwise))
    return result


def function_gap(
    model: Posterior,
    reference: Posterior,
    log_likelihood: LogLikelihood,
    outputs: Outputs,
    *,
    samples: int = 32,
    seed: int = 0,
) -> FunctionGap:
    """The two functions compared on the data; both posteriors see the same noise."""
    draws = [draw(p, samples, seed) for p in (model, reference)]
    first, second = (log_predictive(log_likelihood(d)) for d in draws)
    # Absolute values: differences of opposite sign at two points do not make one function.
    gaps = np.abs(first - second)  # (N,)
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    return FunctionGap(float(gaps.mean()), error, _output_gap(*(outputs(d) for d in draws)))


def _output_gap(first: Array, second: Array) -> float | None:
    """RMS difference of the mean outputs, in stds of both posteriors' outputs; (S, N, d) each."""
    variance = first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)  # (N, d)
    varies = variance > 0
    if len(first) < 2 or not varies.any():
        return None
    # Where no draw moves an output there is no std to measure its difference by.
    squares = (first.mean(axis=0) - second.mean(axis=0))[varies] ** 2 / variance[varies]
    return float(np.sqrt(squares.mean()))


def _excess(positions: Array, values: Array) -> float:
    line = (1.0 - positions) * values[0] + positions * values[-1]
    return float(max(0.0, (values - line).max()))
