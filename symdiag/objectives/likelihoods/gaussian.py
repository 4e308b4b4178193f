"""Gaussian likelihood: y = f(x) + σ ε, σ fixed or learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.objectives.likelihoods.interface import (
    Refusal,
    Scores,
    columns,
    mixture_nll,
    quantile_calibration_error,
)


class Gaussian:
    """log N(y | f, σ²), summed over output dimensions."""

    name = "gaussian"
    has_noise = True
    refusals = (Refusal([[1.0, 2.0]], 1), Refusal([1.0], 2))

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """(N,) or (N, outputs) → (N, outputs) of floats."""
        return columns(raw, outputs, "For class labels use --likelihood categorical.")

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: (S, N, d) → (S, N)."""
        constant = 0.5 * math.log(2.0 * math.pi) + log_noise
        residual = (targets - outputs) * torch.exp(-log_noise)  # (S, N, d)
        return -0.5 * residual.square().sum(-1) - constant * targets.shape[-1]

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """NLL of the mixture, RMSE of its mean, error of its quantiles' coverage."""
        error = outputs.mean(0) - targets
        standardised = (targets - outputs) * torch.exp(-log_noise)
        # the mixture's CDF is the mean of its components'; one value per point and output
        cdf = torch.special.ndtr(standardised).mean(0)  # (N, d)
        return Scores(
            nll=mixture_nll(self.log_prob(outputs, targets, log_noise)),
            metric_name="rmse",
            metric=float(error.square().mean().sqrt()),
            calibration_error=quantile_calibration_error(cdf.reshape(-1)),
            cdf=cdf,
        )

    def reference(self, outputs: NDArray[np.float64], noise: float) -> Sequence[Any]:
        """Normal about each output."""
        from scipy import stats

        return [stats.norm(f, noise) for f in outputs]


LIKELIHOOD = Gaussian()
