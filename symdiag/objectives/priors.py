"""Priors as flat tensors, for training: KL of a mean-field Gaussian, and density of draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from symdiag.objectives.variational import Layout, Variational
from symdiag.priors import (
    ABSENT,
    GaussianPrior,
    Prior,
    ScaleMixturePrior,
    expected_log_density,
)

_LOG_2PI = math.log(2.0 * math.pi)


class FlatPrior(Protocol):
    """A prior laid out like the weights; ``loc`` (D,) are its centres."""

    @property
    def loc(self) -> Tensor:
        """Centres (D,)."""

    def kl_terms(self, q: Variational) -> Tensor:
        """KL(q ‖ prior) per weight (D,), nats, with gradients; without meaning where it is fixed."""

    def log_density(self, draws: Tensor) -> Tensor:
        """log p per weight of draws (S, D), float64."""


@dataclass(frozen=True)
class FlatGaussian:
    """Independent Gaussians, (D,) each."""

    loc: Tensor
    scale: Tensor

    def kl_terms(self, q: Variational) -> Tensor:
        """In closed form."""
        # log_scale, not log(scale): that is −inf for deterministic weights, and −inf · 0 is nan
        log_ratio = q.log_scale - torch.log(self.scale)
        shift = (q.loc - self.loc) / self.scale
        return 0.5 * (torch.exp(2.0 * log_ratio) + shift.square() - 1.0) - log_ratio

    def log_density(self, draws: Tensor) -> Tensor:
        """Of Gaussians."""
        standard = (draws.double() - self.loc.double()) / self.scale.double()
        return -0.5 * (standard.square() + _LOG_2PI) - torch.log(self.scale.double())


@dataclass(frozen=True)
class FlatMixture:
    """Mixtures of Gaussians of one centre, widest first: see ``expected_log_density``."""

    loc: Tensor  # (D,)
    peak: Tensor  # (K, D)
    precision: Tensor  # (K, D)

    def kl_terms(self, q: Variational) -> Tensor:
        """By quadrature, its gradients too."""
        expected: Tensor = _Expected.apply(  # type: ignore[no-untyped-call]
            q.loc - self.loc, q.log_scale, self.peak, self.precision
        )
        return -expected - q.log_scale - 0.5 * (1.0 + _LOG_2PI)

    def log_density(self, draws: Tensor) -> Tensor:
        """log Σ_k f_k."""
        square = (draws.double() - self.loc.double()).square()
        found = self.peak[0].double() - 0.5 * self.precision[0].double() * square
        for peak, precision in zip(
            self.peak[1:].double(), self.precision[1:].double(), strict=True
        ):
            found = torch.logaddexp(found, peak - 0.5 * precision * square)
        return found


class _Expected(torch.autograd.Function):
    """E_q[log p] per weight; the derivatives come from the same nodes."""

    @staticmethod
    def forward(
        ctx: Any, loc: Tensor, log_scale: Tensor, peak: Tensor, precision: Tensor
    ) -> Tensor:
        value, by_loc, by_log_scale = expected_log_density(
            torch, loc, torch.exp(log_scale), peak, precision
        )
        ctx.save_for_backward(by_loc, by_log_scale)
        found: Tensor = value
        return found

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_loc, by_log_scale = ctx.saved_tensors
        return outer[0] * by_loc, outer[0] * by_log_scale, None, None


def flat_prior(
    prior: Prior, layout: Layout, *, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> FlatPrior:
    """``prior`` laid out like the weights; it must name all of them (KeyError otherwise)."""

    def flat(values: Any) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=dtype, device=device)

    if isinstance(prior, GaussianPrior):
        return FlatGaussian(flat(layout.join(prior.loc)), flat(layout.join(prior.scale)))
    assert isinstance(prior, ScaleMixturePrior)
    stacks = [prior.stack(name, shape) for name, shape in layout.shapes]
    most = max((len(peak) for _, peak, _ in stacks), default=1)

    def joined(parts: list[Any], last: float | None) -> Tensor:
        """(K, D): tensors with fewer components get narrow ones that are not there."""
        padded = [
            np.concatenate([p, *[np.full_like(p[-1:], last) if last else p[-1:]] * (most - len(p))])
            for p in parts
        ]
        return flat(np.concatenate([p.reshape(most, -1) for p in padded], axis=1))

    return FlatMixture(
        flat(np.concatenate([loc.ravel() for loc, _, _ in stacks])),
        joined([peak for _, peak, _ in stacks], ABSENT),
        joined([precision for _, _, precision in stacks], None),
    )


def total_kl(q: Variational, prior: FlatPrior) -> Tensor:
    """KL(q ‖ prior) summed over the random weights, nats."""
    terms = prior.kl_terms(q)
    return (terms if q.free is None else terms * q.free).sum()
