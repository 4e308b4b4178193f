"""Gaussian likelihood: y = f(x) + σ ε, σ fixed or learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from symdiag.errors import InputError
from symdiag.objectives.likelihoods.interface import Scores, mixture_nll, quantile_calibration_error


class Gaussian:
    """log N(y | f, σ²), summed over output dimensions."""

    name = "gaussian"

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """(N,) or (N, outputs) → (N, outputs) of floats."""
        shaped = raw.reshape(len(raw), -1)
        if shaped.shape[1] != outputs:
            raise InputError(
                f"targets have {shaped.shape[1]} columns but the network has {outputs} outputs",
                code="bad-data",
                hint="For class labels use --likelihood categorical.",
            )
        return shaped

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: (S, N, d) → (S, N)."""
        constant = 0.5 * math.log(2.0 * math.pi) + log_noise
        residual = (targets - outputs) * torch.exp(-log_noise)
        return -0.5 * residual.square().sum(-1) - constant * targets.shape[-1]

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """NLL of the mixture, RMSE of its mean, error of its quantiles' coverage."""
        error = outputs.mean(0) - targets
        standardised = (targets - outputs) * torch.exp(-log_noise)
        cdf = torch.special.ndtr(standardised).mean(0).reshape(-1)
        return Scores(
            nll=mixture_nll(self.log_prob(outputs, targets, log_noise)),
            metric_name="rmse",
            metric=float(error.square().mean().sqrt()),
            calibration_error=quantile_calibration_error(cdf),
        )


LIKELIHOOD = Gaussian()
