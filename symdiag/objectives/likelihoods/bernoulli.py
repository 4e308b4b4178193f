"""Bernoulli likelihood: binary targets with logits f(x), one per output."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from symdiag.errors import InputError
from symdiag.objectives.likelihoods.interface import Scores, expected_calibration_error, mixture_nll


class Bernoulli:
    """y log s(f) + (1 − y) log s(−f), summed over outputs."""

    name = "bernoulli"

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


LIKELIHOOD = Bernoulli()
