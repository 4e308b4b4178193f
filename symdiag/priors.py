"""Priors over named weight tensors: independent Gaussians, and scale mixtures of centred ones.

A prior names the tensors it covers and gives, per weight of a mean-field Gaussian q, its KL and the
KL's derivatives. Both kinds are met by one protocol, ``Prior``; their torch side is
``symdiag.objectives.priors``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from symdiag.arrays import Array

_LOG_2PI = math.log(2.0 * math.pi)

ABSENT = -1e6
"""Log density of a component that is not there: finite, so that differences of two are."""

NODES = 96  # of the trapezoidal rule; tests/test_priors.py has its error
_SPAN = 8.5  # stds of q, beyond which it has less than 1e-16
_NEGLIGIBLE = 30.0  # nats below which a component adds nothing to the wider ones
_CHUNK = 512  # weights whose nodes are held at once

Components = tuple[tuple[float, float], ...]
"""(weight, std) of each Gaussian of a mixture."""


class Prior(Protocol):
    """What the ELBO, training and the meter of the KL's weight need of a prior."""

    @property
    def names(self) -> Collection[str]:
        """Tensors that it covers."""

    def kl(self, name: str, loc: Array, scale: Array) -> Array:
        """KL(q ‖ p) per weight of a tensor, nats; all of ``scale`` above 0."""

    def pulls(self, name: str, loc: Array, scale: Array) -> tuple[Array, Array]:
        """(∂KL/∂log σ, σ ∂KL/∂μ) per weight."""

    def arrays(self) -> Iterator[tuple[Mapping[str, Array], bool]]:
        """All that may differ within a tensor, by its name, and whether sign flips act on it."""

    def renamed(self, rename: Callable[[str], str]) -> Prior:
        """The same with other names of the tensors."""

    def words(self, names: Collection[str]) -> str:
        """What it is over these tensors."""


@dataclass(frozen=True)
class GaussianPrior:
    """Independent Gaussian prior per tensor: loc and scale broadcastable to the tensor's shape."""

    loc: Mapping[str, Array]
    scale: Mapping[str, Array]

    @property
    def names(self) -> Collection[str]:
        """Tensors that it covers."""
        return self.loc.keys()

    def kl(self, name: str, loc: Array, scale: Array) -> Array:
        """In closed form."""
        ratio = scale / self.scale[name]
        shift = (loc - self.loc[name]) / self.scale[name]
        return np.asarray(0.5 * (ratio**2 + shift**2 - 1.0) - np.log(ratio))

    def pulls(self, name: str, loc: Array, scale: Array) -> tuple[Array, Array]:
        """σ²/s² − 1 and σ (μ − m)/s²."""
        ratio = scale / self.scale[name]
        return ratio**2 - 1.0, ratio * (loc - self.loc[name]) / self.scale[name]

    def arrays(self) -> Iterator[tuple[Mapping[str, Array], bool]]:
        """Means, which flip, and stds."""
        yield self.loc, True
        yield self.scale, False

    def renamed(self, rename: Callable[[str], str]) -> GaussianPrior:
        """The same with other names of the tensors."""
        loc, scale = ({rename(n): v for n, v in part.items()} for part in (self.loc, self.scale))
        return GaussianPrior(loc, scale)

    def words(self, names: Collection[str]) -> str:
        """``Gaussian prior of std 1``, or of how many."""
        stds = {float(std) for name in names for std in np.asarray(self.scale[name]).flat}
        which = f"std {next(iter(stds)):g}" if len(stds) == 1 else f"{len(stds)} stds"
        return f"Gaussian prior of {which}"


@dataclass(frozen=True)
class ScaleMixturePrior:
    """Per weight Σ_k π_k N(0, s_k²) (Blundell et al. 2015), the same for all weights of a tensor.

    Attributes:
        components: Tensor name → (π_k, s_k) of each Gaussian.
        others: Gaussian prior of the remaining tensors.
        floor: A constant added to every density, which no longer integrates to 1: what blitz does
            (1e-6). Beyond where the Gaussians fall below it nothing pulls at a weight.
    """

    components: Mapping[str, Components]
    others: GaussianPrior = field(default_factory=lambda: GaussianPrior({}, {}))
    floor: float = 0.0

    def __post_init__(self) -> None:
        for name, components in self.components.items():
            total = sum(weight for weight, _ in components)
            if not all(w >= 0 and 0 < s < math.inf for w, s in components) or not math.isclose(
                total, 1.0, rel_tol=1e-5
            ):
                raise ValueError(f"{name}: weights must add up to 1, and stds be positive")

    @property
    def names(self) -> Collection[str]:
        """Tensors that it covers."""
        return {**self.components, **self.others.loc}.keys()

    def kl(self, name: str, loc: Array, scale: Array) -> Array:
        """By quadrature (``expected_log_density``)."""
        expected = self._expected(name, loc, scale)[0]
        return np.asarray(-expected - np.log(scale) - 0.5 * (1.0 + _LOG_2PI))

    def pulls(self, name: str, loc: Array, scale: Array) -> tuple[Array, Array]:
        """By the same quadrature of the derivatives."""
        _, by_loc, by_log_scale = self._expected(name, loc, scale)
        return -1.0 - by_log_scale, -scale * by_loc

    def arrays(self) -> Iterator[tuple[Mapping[str, Array], bool]]:
        """Of the Gaussian tensors: a mixture is centred and the same for all weights of a tensor."""
        return self.others.arrays()

    def renamed(self, rename: Callable[[str], str]) -> ScaleMixturePrior:
        """The same with other names of the tensors."""
        components = {rename(name): value for name, value in self.components.items()}
        return replace(self, components=components, others=self.others.renamed(rename))

    def words(self, names: Collection[str]) -> str:
        """``mixture prior 0.5 N(0, 1²) + 0.5 N(0, 0.1²)``, or how many, and of the others."""
        found = {self.components[n]: None for n in names if n in self.components}
        plain = [name for name in names if name not in self.components]
        parts = [f"mixture prior {mixture_words(next(iter(found)))}"] if len(found) == 1 else []
        parts += [f"{len(found)} mixture priors"] if len(found) > 1 else []
        parts += [self.others.words(plain)] if plain else []
        added = f", {self.floor:g} added to its density" if self.floor else ""
        return " and ".join(parts) + added

    def stack(self, name: str, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
        """Centre (*shape), and log densities there and precisions (K, *shape), widest first."""
        if name in self.components:
            weights, stds = np.array([c for c in self.components[name] if c[0] > 0]).T
            # repeated for every weight: what else a tensor may have differs between weights
            column = (-1, *(1 for _ in shape))
            log_weight, scale = np.log(weights).reshape(column), stds.reshape(column)
            loc = np.zeros(shape)
        else:
            loc = np.broadcast_to(self.others.loc[name], shape)
            log_weight, scale = np.zeros(1), np.broadcast_to(self.others.scale[name], shape)[None]
        peak = log_weight - np.log(scale) - 0.5 * _LOG_2PI
        precision = scale**-2.0
        if self.floor:
            peak = np.concatenate([np.full_like(peak[:1], math.log(self.floor)), peak])
            precision = np.concatenate([np.zeros_like(precision[:1]), precision])
        order = np.argsort(precision, axis=0)
        whole = (len(peak), *shape)
        peak, precision = (
            np.broadcast_to(np.take_along_axis(part, order, 0), whole) for part in (peak, precision)
        )
        return loc, peak, precision

    def _expected(self, name: str, loc: Array, scale: Array) -> tuple[Array, Array, Array]:
        center, peak, precision = self.stack(name, loc.shape)
        count = len(peak)
        found = expected_log_density(
            np,
            (loc - center).ravel(),
            np.asarray(scale, dtype=np.float64).ravel(),
            peak.reshape(count, -1),
            precision.reshape(count, -1),
        )
        return found[0].reshape(loc.shape), found[1].reshape(loc.shape), found[2].reshape(loc.shape)


def with_floor(prior: Prior, floor: float) -> ScaleMixturePrior:
    """``prior`` with a constant added to the density of every weight."""
    if isinstance(prior, ScaleMixturePrior):
        return replace(prior, floor=floor)
    assert isinstance(prior, GaussianPrior)
    return ScaleMixturePrior({}, prior, floor)


def mixture_words(components: Components) -> str:
    """``0.5 N(0, 1²) + 0.5 N(0, 0.1²)``."""
    return " + ".join(f"{weight:.3g} N(0, {std:.3g}²)" for weight, std in components if weight > 0)


def expected_log_density(
    xp: Any, loc: Any, scale: Any, peak: Any, precision: Any
) -> tuple[Any, Any, Any]:
    """E_q[log p], ∂/∂μ and ∂/∂log σ per weight (D,) for q = N(μ, σ²), p = Σ_k exp(peak − ½ prec w²).

    log p = log f_0 + Σ_k log(1 + f_k/(f_0 + … + f_{k−1})), components from wide to narrow. The first
    term is exact. Each other is a bump around 0 that has vanished where its component has, so it is
    integrated against q over where both are: a trapezoidal rule there converges exponentially
    whichever of the two is the narrower. (Gauss–Hermite sees no bump narrower than its nodes' gaps.)

    Args:
        xp: The array library, numpy or torch: one formula for both.
        loc: Means, from the prior's centre (D,).
        scale: Stds, all above 0 (D,).
        peak: Log densities at the centre (K, D).
        precision: Rising along K, 0 for a constant (K, D).
    """
    value = peak[0] - 0.5 * precision[0] * (loc**2 + scale**2)
    by_loc, by_log_scale = -precision[0] * loc, -precision[0] * scale**2
    if len(peak) == 1 or not len(loc):
        return value, by_loc, by_log_scale
    sides = (value, by_loc, by_log_scale)
    for start in range(0, len(loc), _CHUNK):
        some = slice(start, start + _CHUNK)
        for k in range(1, len(peak)):
            found = _bump(xp, loc[some], scale[some], peak[: k + 1, some], precision[: k + 1, some])
            for total, bump in zip(sides, found, strict=True):
                total[some] += bump
    return value, by_loc, by_log_scale


def _bump(xp: Any, loc: Any, scale: Any, peak: Any, precision: Any) -> tuple[Any, Any, Any]:
    """E_q[log(1 + f_k/Σ_{j<k} f_j)] of the last component k, and its derivatives (D,)."""
    # f_k/f_j = exp(height − ½ gap w²) is negligible beyond the reach, and so is the ratio to the sum
    height, gap = peak[-1] - peak[:-1], precision[-1] - precision[:-1]
    reach = xp.sqrt(xp.clip(2.0 * (height + _NEGLIGIBLE) / xp.clip(gap, 1e-30, None), 0.0, None))
    reach = xp.amin(reach, 0)
    # nodes in stds of q: w − μ from rounded w would lose all digits for tiny stds
    lower = xp.clip((-reach - loc) / scale, -_SPAN, _SPAN)
    upper = xp.clip((reach - loc) / scale, -_SPAN, _SPAN)
    step = (upper - lower) / (NODES - 1)
    shares = xp.linspace(0.0, 1.0, NODES, dtype=loc.dtype)
    shares = shares if xp is np else shares.to(loc.device)
    z = lower + shares[:, None] * (upper - lower)  # (NODES, D)
    weight = step * xp.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    w = loc + scale * z
    half_square = 0.5 * w**2
    wider, pull = peak[0] - precision[0] * half_square, precision[0] + 0.0 * w
    for j in range(1, len(peak) - 1):
        own = peak[j] - precision[j] * half_square
        both = xp.logaddexp(wider, own)
        # precision of the wider ones together, each by its share of the density
        pull = pull + (precision[j] - pull) * xp.exp(own - both)
        wider = both
    log_ratio = peak[-1] - precision[-1] * half_square - wider
    rise = xp.logaddexp(0.0 * w, log_ratio)
    slope = xp.exp(log_ratio - rise) * (pull - precision[-1]) * w * weight
    return (rise * weight).sum(0), slope.sum(0), (slope * scale * z).sum(0)
