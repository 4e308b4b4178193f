"""Poisson likelihood: counts with log rate f(x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.errors import InputError
from symdiag.objectives.likelihoods.interface import (
    Refusal,
    Scores,
    mixture_nll,
    quantile_calibration_error,
)


class Poisson:
    """y f − exp(f) − log y!, summed over outputs."""

    name = "poisson"
    has_noise = False
    refusals = (Refusal([-1.0], 1), Refusal([1.5], 1), Refusal([[1.0, 2.0]], 1))

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """(N,) or (N, outputs) of counts → (N, outputs) floats."""
        shaped = raw.reshape(len(raw), -1)
        counts = bool(((shaped >= 0) & (shaped == shaped.round())).all())
        if shaped.shape[1] != outputs or not counts:
            raise InputError(
                f"poisson targets must be counts (0, 1, 2, ...) in {outputs} columns",
                code="bad-data",
                hint="For real-valued targets use --likelihood gaussian.",
            )
        return shaped

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: (S, N, d) → (S, N)."""
        return (targets * outputs - torch.exp(outputs) - torch.lgamma(targets + 1.0)).sum(-1)

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """NLL, RMSE of the mean rate, coverage error of the mid-point CDF P(Y < y) + P(Y = y)/2."""
        rate = torch.exp(outputs)
        upper = torch.special.gammaincc(targets + 1.0, rate)  # P(Y <= y), a gamma tail
        mass = torch.exp(targets * outputs - rate - torch.lgamma(targets + 1.0))
        cdf = (upper - 0.5 * mass).mean(0)  # (N, d)
        return Scores(
            nll=mixture_nll(self.log_prob(outputs, targets, log_noise)),
            metric_name="rmse",
            metric=float((rate.mean(0) - targets).square().mean().sqrt()),
            calibration_error=quantile_calibration_error(cdf.reshape(-1)),
            cdf=cdf,
        )

    def reference(self, outputs: NDArray[np.float64], noise: float) -> Sequence[Any]:
        """Counts with rate exp f, per output."""
        from scipy import stats

        return [stats.poisson(np.exp(f)) for f in outputs]


LIKELIHOOD = Poisson()
