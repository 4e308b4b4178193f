"""What a likelihood must provide, and the scores that several share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.errors import InputError


@dataclass(frozen=True)
class Scores:
    """Predictive quality on held-out data of the mixture over weight draws.

    ``metric`` is the RMSE of the predictive mean or the accuracy of the most probable class, as
    ``metric_name`` says. ``calibration_error`` is in [0, 1]. ``cdf`` is the predictive CDF at the
    targets (N, d), uniform where the model is right; None for targets without an order.
    """

    nll: float  # nats per data point
    metric_name: Literal["rmse", "accuracy"]
    metric: float
    calibration_error: float
    cdf: Tensor | None = None


@dataclass(frozen=True)
class Refusal:
    """Targets for a network of ``outputs`` outputs that must be refused with code ``bad-data``."""

    targets: Any  # anything that torch.tensor takes
    outputs: int


class Likelihood(Protocol):
    """p(y | f) for network outputs f.

    Attributes:
        name: As in ``--likelihood``, and the module's name.
        has_noise: Whether there is a scale about the outputs (``--noise``); it is ``log_noise``,
            log of a std, and starts at the residual std of the mean network where it is learned.
        refusals: Targets that ``targets`` must refuse; the conformance suite tries them.
    """

    name: str
    has_noise: bool
    refusals: Sequence[Refusal]

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """The targets in the shape and dtype that ``log_prob`` wants.

        Raises:
            InputError: ``bad-data``, with a hint.
        """
        ...

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: outputs (S, N, d) → (S, N)."""
        ...

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """Scores of the predictive mixture over draws, from outputs (S, N, d)."""
        ...

    def reference(self, outputs: NDArray[np.float64], noise: float) -> Sequence[Any]:
        """p(y | f) for one point's outputs (d,) as frozen ``scipy.stats`` distributions.

        One univariate distribution per column of targets. Everything else here is checked against
        them, so they must not be built from this module's own formulas.
        """
        ...


def columns(raw: Tensor, outputs: int, hint: str) -> Tensor:
    """Targets (N,) or (N, outputs) as (N, outputs); InputError ``bad-data`` for another width."""
    shaped = raw.reshape(len(raw), -1)
    if shaped.shape[1] != outputs:
        raise InputError(
            f"targets have {shaped.shape[1]} columns but the network has {outputs} outputs",
            code="bad-data",
            hint=hint,
        )
    return shaped


def mixture_nll(log_prob: Tensor) -> float:
    """−mean_n log (1/S) Σ_s p(y_n | ω_s), nats per point, from log probabilities (S, N)."""
    mixture = torch.logsumexp(log_prob, dim=0) - math.log(log_prob.shape[0])
    return float(-mixture.mean())


def quantile_calibration_error(cdf_values: Tensor) -> float:
    """Mean |coverage − nominal| over the levels .05, .10, ..., .95.

    Args:
        cdf_values: (N,) predictive CDF at the targets; uniform where the model is right.
    """
    levels = torch.linspace(0.05, 0.95, 19, dtype=cdf_values.dtype, device=cdf_values.device)
    coverage = (cdf_values[None, :] <= levels[:, None]).to(cdf_values.dtype).mean(1)  # (19,)
    return float((coverage - levels).abs().mean())


def expected_calibration_error(probabilities: Tensor, correct: Tensor, bins: int = 15) -> float:
    """Σ_b (n_b/N) |accuracy − confidence| over equal-width bins of the top probability (N,)."""
    index = (probabilities * bins).long().clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=probabilities.device)
    gap.index_add_(0, index, (correct.double() - probabilities.double()))
    return float(gap.abs().sum() / len(probabilities))
