"""The reading: slope, interval and whether the posterior is stationary at it.

How wide the interval must be and what counts as stationary was set on 1080 posteriors with a known
weight, 720 of them stopped early (docs/kl-weight.md): the half-width of log T is two standard
errors, plus half of what the line leaves unexplained (the scatter of log stds, and a third of the
distance from stationarity of means and log stds together), plus what two ways of averaging differ
by. A reading is ``ok`` where that is at most ``MAX_HALF_WIDTH``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from symdiag.arrays import Array
from symdiag.diagnostics.kl_weight.conventions import (
    CONVENTIONS,
    ELBO,
    Convention,
    Sizes,
    causes,
    layer_of,
)
from symdiag.diagnostics.kl_weight.gradients import Gradients, Trained, measure_gradients
from symdiag.diagnostics.kl_weight.parts import agree, by_tensor, part_of, span, tells, with_small
from symdiag.diagnostics.kl_weight.regression import (
    Slope,
    explained,
    halves,
    natural_slope,
    robust_slope,
)
from symdiag.diagnostics.kl_weight.result import KlWeight, Part, Status

MAX_HALF_WIDTH = 0.15
"""Of log T, beyond which nothing is claimed."""

_OFF_BALANCE = 0.3  # share of a state's distance from balance that shows in T
_LEAST = 6.0  # log stds that tell
_POINTS = 200  # kept for a figure
_BETTER = 0.5  # a convention other than the sum must halve the half-width
_LEAST_SPAN = 4.0  # layers that have not settled may well differ by a factor of two


@dataclass(frozen=True)
class _Line:
    """One convention's fit: slope of its factor, half-width of the log, and what made it up."""

    convention: Convention
    slope: float
    half_width: float
    robust: Slope
    natural: Slope
    unsettled: float
    kl: Array  # ∂KL over log stds, weighed by the convention
    kl_mean: Array


def measure(
    trained: Trained,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    library: str | None = None,
    assumptions: tuple[str, ...] = (),
) -> KlWeight:
    """The weight of the KL at which ``trained`` is stationary.

    Args:
        trained: Posterior, network, likelihood, prior and training data.
        seed: Of the draws.
        batch_size: Of training, where it is known: names causes.
        library: That wrote the file, likewise.
        assumptions: What the caller assumed.
    """
    return assess(
        measure_gradients(trained, seed=seed),
        len(trained),
        has_noise=trained.likelihood.has_noise,
        noise_known=trained.log_noise is not None,
        seed=seed,
        batch_size=batch_size,
        library=library,
        assumptions=assumptions,
    )


def assess(
    gradients: Gradients,
    points: int,
    *,
    has_noise: bool = False,
    noise_known: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
    library: str | None = None,
    assumptions: tuple[str, ...] = (),
) -> KlWeight:
    """What the two sides of ∂E[log p] = T·∂KL say of T."""
    sizes = _sizes(gradients, points)
    lines = [line for c in CONVENTIONS if (line := _line(gradients, c, sizes)) is not None]
    if not lines or lines[0].robust.informative < _LEAST:
        return _undetermined(gradients, assumptions)
    layers = by_tensor(gradients)
    line = _chosen(lines, sizes, layers, with_small(gradients, layers))
    # the average over weights of what multiplies their KL
    share = float(line.convention.share(sizes)[gradients.tensor].mean())
    value = line.slope * share
    status, reasons = _status(line, sizes, layers)
    crossed = robust_slope(
        line.kl, gradients.fit_log_std, gradients.fit_log_std_error, intercept=True
    )
    noise_std = math.exp(gradients.log_noise) if has_noise else None
    squared = None if noise_std is None else 1.0 / (2.0 * noise_std**2)
    found = KlWeight(
        value=value,
        std_error=math.hypot(
            max(line.natural.error, line.robust.error), line.slope * gradients.shared_error
        )
        * share,
        lower=value * math.exp(-line.half_width),
        upper=value * math.exp(line.half_width) if line.half_width < 300 else math.inf,
        method=gradients.method,
        samples=gradients.draws,
        status=status,
        fit=explained(line.kl, gradients.fit_log_std, gradients.fit_log_std_error, line.slope),
        scatter=line.robust.scatter,
        unsettled=line.unsettled,
        informative=line.robust.informative,
        convention=line.convention.name,
        reasons=reasons,
        assumptions=assumptions,
        noise_std=noise_std,
        squared_error_weight=None if squared is None else value / (squared * points),
        points=_sample(gradients, line, seed),
        intercept=crossed.intercept / line.slope if crossed else math.inf,
        intercept_error=crossed.intercept_error / line.slope if crossed else math.inf,
        means=part_of(
            "means",
            robust_slope(line.kl_mean, gradients.fit_mean, gradients.fit_mean_error),
            share,
        ),
        halves=_halves(gradients, line, share, seed),
        layers=layers,
        causes=(),
    )
    if status != "ok":
        return found
    # nothing to explain where the value is the ELBO's
    if not found.differs:
        return replace(found, causes=(ELBO,))
    named = causes(
        line.convention,
        sizes,
        line.slope,
        line.half_width,
        batch_size=batch_size,
        library=library,
        squared=squared,
        squared_first=has_noise and not noise_known,
    )
    # in the value's own terms: the mean over weights of what multiplies their KL
    return replace(found, causes=tuple(replace(c, weight=c.weight * share) for c in named))


def _sizes(gradients: Gradients, points: int) -> Sizes:
    present = range(len(gradients.names))
    counts = np.bincount(gradients.tensor, minlength=len(gradients.names))
    layers = tuple(layer_of(name) for name in gradients.names)
    # a tensor without random weights has no KL to average
    return Sizes(points, tuple(max(1, int(counts[i])) for i in present), layers)


def _line(gradients: Gradients, convention: Convention, sizes: Sizes) -> _Line | None:
    share = convention.share(sizes)[gradients.tensor]
    kl, kl_mean = gradients.kl_log_std * share, gradients.kl_mean * share
    fit, error = gradients.fit_log_std, gradients.fit_log_std_error
    robust, natural = robust_slope(kl, fit, error), natural_slope(kl, fit, error)
    if robust is None or natural is None or robust.slope == 0.0:
        return None
    slope = natural.slope
    if slope <= 0.0 or robust.slope <= 0.0:
        return _Line(convention, slope, math.inf, robust, natural, math.inf, kl, kl_mean)
    unsettled = _unsettled(gradients, kl, kl_mean, slope)
    own = max(robust.relative_error, natural.relative_error)
    half_width = (
        2.0 * math.hypot(own, gradients.shared_error)
        + 0.5 * math.hypot(robust.scatter, _OFF_BALANCE * unsettled)
        + abs(math.log(natural.slope / robust.slope))
    )
    return _Line(convention, slope, half_width, robust, natural, unsettled, kl, kl_mean)


def _unsettled(gradients: Gradients, kl: Array, kl_mean: Array, slope: float) -> float:
    """Size of the residual gradient over that of T·∂KL, in the natural metric of the posterior.

    The Fisher information of a Gaussian is 2 for a log std and 1 for a mean in stds; Monte Carlo
    error is taken off, and its own error (one standard deviation) put on.
    """
    squares, variance = 0.0, 0.0
    for side, fit, error, fisher in (
        (kl, gradients.fit_log_std, gradients.fit_log_std_error, 2.0),
        (kl_mean, gradients.fit_mean, gradients.fit_mean_error, 1.0),
    ):
        residual = fit - slope * side
        squares += float((residual**2 - error**2).sum()) / fisher
        variance += float((4.0 * residual**2 * error**2).sum()) / fisher**2
    scale = slope**2 * (float((kl**2).sum()) / 2.0 + float((kl_mean**2).sum()))
    return math.sqrt(max(0.0, squares + math.sqrt(variance)) / scale)


def _chosen(
    lines: list[_Line], sizes: Sizes, layers: tuple[Part, ...], small: tuple[Part, ...]
) -> _Line:
    """The sum over weights, unless tensors disagree with it and agree with another convention.

    Where one tensor tells nearly all, any factor on the others fits: a better fit is not enough.
    Those of a few weights (in ``small``) are asked where nothing else speaks against a sum that is
    no balance.
    """
    plain = lines[0]
    share = plain.convention.share(sizes)
    told = layers
    if agree(layers, share):
        if plain.half_width <= MAX_HALF_WIDTH or agree(small, share):
            return plain
        told = small
    others = [
        line
        for line in lines[1:]
        if line.half_width < _BETTER * plain.half_width
        and agree(told, line.convention.share(sizes))
        and span(told, line.convention.share(sizes)) >= _LEAST_SPAN
    ]
    return min(others, key=lambda line: line.half_width, default=plain)


def _status(line: _Line, sizes: Sizes, layers: tuple[Part, ...]) -> tuple[Status, tuple[str, ...]]:
    if line.slope <= 0.0 or not math.isfinite(line.half_width):
        return "not-stationary", ("the data pull the log stds the same way as the prior does",)
    reasons = []
    if line.robust.scatter > MAX_HALF_WIDTH:
        reasons.append(f"log stds scatter by {line.robust.scatter:.0%} about one weight")
    if line.unsettled > 2.0 * MAX_HALF_WIDTH:
        reasons.append(
            f"means and log stds are off balance by {line.unsettled:.0%} of the KL's pull"
        )
    apart = abs(math.log(line.natural.slope / line.robust.slope))
    if apart > 0.5 * MAX_HALF_WIDTH:
        reasons.append(f"two ways of averaging over log stds differ by {apart:.0%}")
    # a large tensor alone makes a narrow interval, whatever a small one says
    if not agree(layers, line.convention.share(sizes)):
        told = ", ".join(f"{part.name} {part.value:.2g}" for part in layers if tells(part))
        reasons.append(f"no one weight for all tensors ({told})")
    elif line.half_width <= MAX_HALF_WIDTH:
        return "ok", ()
    return "not-stationary", tuple(reasons) or (
        f"the interval is {line.half_width:.0%} wide to either side",
    )


def _halves(gradients: Gradients, line: _Line, share: float, seed: int) -> tuple[Part, ...]:
    chosen = halves(len(line.kl), seed)
    fit, error = gradients.fit_log_std, gradients.fit_log_std_error
    return tuple(
        part_of(name, robust_slope(line.kl[half], fit[half], error[half]), share)
        for name, half in (("first half", chosen), ("second half", ~chosen))
    )


def _sample(gradients: Gradients, line: _Line, seed: int) -> tuple[tuple[float, float, float], ...]:
    """At most ``_POINTS`` log stds for a figure, drawn without regard to where they lie."""
    count = len(line.kl)
    chosen = np.arange(count)
    if count > _POINTS:
        draw = np.random.default_rng([seed, 33])
        chosen = np.sort(draw.choice(count, _POINTS, replace=False))
    columns = (gradients.kl_log_std, gradients.fit_log_std, gradients.fit_log_std_error)
    return tuple(
        (float(x), float(y), float(e))
        for x, y, e in zip(*(c[chosen] for c in columns), strict=True)
    )


def _undetermined(gradients: Gradients, assumptions: tuple[str, ...]) -> KlWeight:
    nothing = Part("means", None, math.inf, 0.0)
    return KlWeight(
        value=None,
        std_error=math.inf,
        lower=0.0,
        upper=math.inf,
        method=gradients.method,
        samples=gradients.draws,
        status="undetermined",
        fit=0.0,
        scatter=math.inf,
        unsettled=math.inf,
        intercept=math.inf,
        intercept_error=math.inf,
        informative=0.0,
        convention="summed",
        means=nothing,
        halves=(),
        layers=(),
        causes=(),
        reasons=("hardly any std is shaped by the data",),
        assumptions=assumptions,
        noise_std=None,
        squared_error_weight=None,
        points=(),
    )
