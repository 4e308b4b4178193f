"""What a likelihood must provide. A new one is one new module in this package defining ``LIKELIHOOD``."""

from __future__ import annotations

import importlib
import math
import pkgutil
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from symdiag.errors import UsageError


@dataclass(frozen=True)
class Scores:
    """Predictive quality on held-out data; ``metric`` is named by ``metric_name`` (rmse or accuracy)."""

    nll: float  # nats per data point
    metric_name: str
    metric: float
    calibration_error: float


class Likelihood(Protocol):
    """p(y | f) for network outputs f. ``log_noise`` is log of the noise std (gaussian only, else ignored)."""

    name: str

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """The target array in the shape and dtype that ``log_prob`` wants; InputError if it cannot be."""
        ...

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: outputs (S, N, d) → (S, N)."""
        ...

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """Scores of the predictive mixture over draws, from outputs (S, N, d)."""
        ...


def likelihood_names() -> tuple[str, ...]:
    """Names accepted by ``--likelihood``, in alphabetical order."""
    package = importlib.import_module("symdiag.objectives.likelihoods")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(name for name in found if name != "interface")


def find_likelihood(name: str) -> Likelihood:
    """The likelihood called ``name``; UsageError with the valid names otherwise."""
    if name not in likelihood_names():
        raise UsageError(
            f"unknown likelihood '{name}'",
            code="bad-option",
            hint=f"Choose one of: {', '.join(likelihood_names())}.",
        )
    likelihood: Likelihood = importlib.import_module(
        f"symdiag.objectives.likelihoods.{name}"
    ).LIKELIHOOD
    return likelihood


def mixture_nll(log_prob: Tensor) -> float:
    """−mean_n log (1/S) Σ_s p(y_n | ω_s), nats per point, from log probabilities (S, N)."""
    mixture = torch.logsumexp(log_prob, dim=0) - math.log(log_prob.shape[0])
    return float(-mixture.mean())


def quantile_calibration_error(cdf_values: Tensor) -> float:
    """Mean |coverage − nominal| over 19 quantile levels, from predictive CDF values (N,) at the targets."""
    levels = torch.linspace(0.05, 0.95, 19, dtype=cdf_values.dtype, device=cdf_values.device)
    coverage = (cdf_values[None, :] <= levels[:, None]).to(cdf_values.dtype).mean(1)
    return float((coverage - levels).abs().mean())


def expected_calibration_error(probabilities: Tensor, correct: Tensor, bins: int = 15) -> float:
    """Σ_b (n_b/N) |accuracy − confidence| over equal-width bins of the top probability (N,)."""
    index = (probabilities * bins).long().clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=probabilities.device)
    gap.index_add_(0, index, (correct.double() - probabilities.double()))
    return float(gap.abs().sum() / len(probabilities))
