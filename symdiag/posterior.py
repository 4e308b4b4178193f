"""Gaussian posteriors over named weight tensors, as read from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symdiag.arrays import Array
from symdiag.display import Shown, SmallTable, shape_text
from symdiag.priors import Prior

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Ignored:
    """A key of the file that was not used, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class LaplaceTerms:
    """Laplace's log p(Y|X) = log_likelihood − ½ (log_det_ratio + scatter), nats, from its file.

    ``log_likelihood`` is that of the means; None where the file does not say, with the reason in
    ``missing``. ``log_det_ratio`` is log det of the posterior precision over that of the prior's,
    ``scatter`` the squared distance of the means to the prior's, in prior stds.
    """

    log_likelihood: float | None
    log_det_ratio: float
    scatter: float
    missing: str = ""


@dataclass(frozen=True)
class Source:
    """Where a posterior came from; ``keys`` maps tensor name → role → key in the file, for writing
    back.

    ``template`` is the dialect's own memory of the file (opaque to everyone else). ``tied`` lists
    sets of names under which the file holds one and the same tensor; the posterior has it once,
    under the first. ``laplace``: what a Laplace approximation knows of its evidence.
    """

    path: str
    sha256: str
    container: str
    dialect: str
    scale_transform: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()
    template: Any = None
    tied: tuple[tuple[str, ...], ...] = ()
    laplace: LaplaceTerms | None = None


@dataclass(frozen=True)
class Covariance:
    """Correlations beyond the marginals, over the flat concatenation of ``order`` (C order each).

    Covariance = ``factor @ factor.T + diag(diagonal)``; ``factor`` is (D, R). A full covariance is
    ``factor`` = its Cholesky factor with ``diagonal`` zero.
    """

    order: tuple[str, ...]
    factor: Array  # (D, R)
    diagonal: Array  # (D,)


@dataclass(frozen=True, repr=False)
class Posterior(Shown):
    """A Gaussian over named weight tensors, in the file's own layout, as float64.

    ``loc`` and ``scale`` share names and shapes. Scale 0 marks a deterministic weight (a density of
    zero width). ``buffers`` are non-weights that move with units (BatchNorm running statistics) or
    that the forward pass needs. ``covariance`` is None for mean-field posteriors; otherwise
    ``scale`` holds the marginal stds.
    """

    loc: Mapping[str, Array]
    scale: Mapping[str, Array]
    buffers: Mapping[str, Array] = field(default_factory=dict)
    prior: Prior | None = None
    covariance: Covariance | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.loc.keys() != self.scale.keys():
            raise ValueError("loc and scale must name the same tensors")
        for name, loc in self.loc.items():
            if loc.shape != self.scale[name].shape:
                raise ValueError(
                    f"{name}: loc {loc.shape} and scale {self.scale[name].shape} differ in shape"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Tensor names, in file order."""
        return tuple(self.loc)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name → shape."""
        return {name: loc.shape for name, loc in self.loc.items()}

    @property
    def num_parameters(self) -> int:
        """Number of scalar weights, deterministic ones included."""
        return sum(loc.size for loc in self.loc.values())

    @property
    def is_mean_field(self) -> bool:
        """Whether all weights are independent under the posterior."""
        return self.covariance is None

    def sample(self, generator: np.random.Generator, num_samples: int = 1) -> dict[str, Array]:
        """Independent weight draws, tensor name → (S, *shape). Exactly ``loc`` where scale is 0."""
        if self.covariance is not None:
            return self._sample_correlated(generator, num_samples)
        return {
            name: loc + self.scale[name] * generator.standard_normal((num_samples, *loc.shape))
            for name, loc in self.loc.items()
        }

    def _sample_correlated(
        self, generator: np.random.Generator, num_samples: int
    ) -> dict[str, Array]:
        cov = self.covariance
        assert cov is not None
        size, rank = cov.factor.shape
        noise = generator.standard_normal((num_samples, rank)) @ cov.factor.T
        noise += generator.standard_normal((num_samples, size)) * np.sqrt(cov.diagonal)
        draws = {
            n: np.broadcast_to(loc, (num_samples, *loc.shape)).copy() for n, loc in self.loc.items()
        }
        start = 0
        for name in cov.order:
            stop = start + self.loc[name].size
            draws[name] += noise[:, start:stop].reshape(draws[name].shape)
            start = stop
        for name in set(self.loc) - set(cov.order):
            draws[name] += self.scale[name] * generator.standard_normal(draws[name].shape)
        return draws

    def entropy(self) -> float:
        """Differential entropy of the marginals, nats (deterministic weights left out)."""
        total = 0.0
        for scale in self.scale.values():
            positive = scale[scale > 0]
            total += 0.5 * positive.size * (1.0 + _LOG_2PI) + float(np.log(positive).sum())
        return total

    def total_correlation(self) -> float:
        """What correlations add to the KL: KL(q || product of its marginals), nats; 0 without."""
        cov = self.covariance
        if cov is None:
            return 0.0
        scale = np.concatenate([self.scale[name].ravel() for name in cov.order])
        # rows of correlations rather than covariances: stds may range over many powers of ten
        factor, rest = cov.factor / scale[:, None], cov.diagonal / scale**2
        if np.all(rest > 0):
            # determinant lemma: |FFᵀ + D| = |D| |I + Fᵀ D⁻¹ F|
            inner = np.eye(factor.shape[1]) + factor.T @ (factor / rest[:, None])
            return -0.5 * float(np.log(rest).sum() + np.linalg.slogdet(inner)[1])
        return -0.5 * float(np.linalg.slogdet(factor @ factor.T + np.diag(rest))[1])

    def kl_to(self, prior: Prior) -> float:
        """KL(q || prior) of the marginals, summed over random weights, nats."""
        total = 0.0
        for name, loc in self.loc.items():
            if name in prior.names:
                random = self.scale[name] > 0
                # a std stands in where there is none: priors may differ weight by weight
                scale = np.where(random, self.scale[name], 1.0)
                total += float(prior.kl(name, loc, scale)[random].sum())
        return total

    def _small_table(self) -> SmallTable:
        where = f" from {self.source.path} ({self.source.dialect})" if self.source else ""
        kind = "mean-field" if self.is_mean_field else "correlated"
        tensors = f"{len(self.loc)} tensor{'' if len(self.loc) == 1 else 's'}"
        return SmallTable(
            f"Posterior{where}: {self.num_parameters:,} weights in {tensors}, {kind}",
            ("tensor", "shape", "RMS mean", "stds"),
            [
                (name, shape_text(loc.shape), f"{_rms(loc):.3g}", _range(self.scale[name]))
                for name, loc in self.loc.items()
            ],
        )

    def replace(self, **changes: Any) -> Posterior:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _range(scale: Array) -> str:
    # zero marks a deterministic weight, which has no std
    random = scale[scale > 0]
    return f"{random.min():.3g} to {random.max():.3g}" if random.size else "deterministic"
