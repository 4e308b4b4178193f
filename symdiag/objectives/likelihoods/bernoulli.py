"""Bernoulli likelihood: binary targets with logits f(x), one per output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from symdiag.errors import InputError
from symdiag.objectives.likelihoods.interface import (
    Refusal,
    Scores,
    expected_calibration_error,
    mixture_nll,
)


class Bernoulli:
    """y log s(f) + (1 − y) log s(−f), summed over outputs."""

    name = "bernoulli"
    has_noise = False
    refusals = (Refusal([0.5], 1), Refusal([-1.0], 1), Refusal([[0.0, 1.0]], 1))

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """(N,) or (N, outputs) of 0/1 → (N, outputs) floats."""
        shaped = raw.reshape(len(raw), -1)
        if shaped.shape[1] != outputs or not bool(((shaped == 0) | (shaped == 1)).all()):
            raise InputError(
                f"bernoulli targets must be 0 or 1 in {outputs} columns",
                code="bad-data",
                hint="For several classes with one output each use --likelihood categorical.",
            )
        return shaped

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: (S, N, d) → (S, N)."""
        # s(−f) = 1 − s(f), so the sign of the logit picks the case without cancellation
        return logsigmoid((2.0 * targets - 1.0) * outputs).sum(-1)

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """NLL, accuracy and expected calibration error of the averaged probabilities."""
        probability = torch.sigmoid(outputs).mean(0).reshape(-1)
        confidence = torch.maximum(probability, 1.0 - probability)
        correct = (probability > 0.5) == (targets.reshape(-1) > 0.5)
        return Scores(
            nll=mixture_nll(self.log_prob(outputs, targets, log_noise)),
            metric_name="accuracy",
            metric=float(correct.double().mean()),
            calibration_error=expected_calibration_error(confidence, correct),
        )

    def reference(self, outputs: NDArray[np.float64], noise: float) -> Sequence[Any]:
        """A coin per output."""
        from scipy import special, stats

        return [stats.bernoulli(special.expit(f)) for f in outputs]


LIKELIHOOD = Bernoulli()
