"""Categorical likelihood: class labels with logits f(x)."""

from __future__ import annotations

import torch
from torch import Tensor

from symdiag.errors import InputError
from symdiag.objectives.likelihoods.interface import Scores, expected_calibration_error, mixture_nll


class Categorical:
    """log softmax(f)_y."""

    name = "categorical"

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """(N,) labels or (N, 1) → (N,) int64 in [0, outputs)."""
        labels = raw.reshape(len(raw), -1)
        if labels.shape[1] == outputs > 1:  # one-hot rows
            return labels.argmax(1)
        whole = labels.shape[1] == 1 and bool((labels == labels.round()).all())
        if not whole or int(labels.min()) < 0 or int(labels.max()) >= outputs:
            raise InputError(
                f"class labels must be whole numbers in 0..{outputs - 1}",
                code="bad-data",
                hint="Give integer labels (N,) or one-hot rows (N, classes).",
            )
        return labels[:, 0].long()

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: (S, N, classes) → (S, N)."""
        logp = torch.log_softmax(outputs, dim=-1)
        return logp.gather(-1, targets.expand(outputs.shape[:-1])[..., None])[..., 0]

    def scores(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Scores:
        """NLL, accuracy and expected calibration error (15 bins) of the averaged probabilities."""
        confidence, label = torch.softmax(outputs, dim=-1).mean(0).max(-1)
        correct = label == targets
        return Scores(
            nll=mixture_nll(self.log_prob(outputs, targets, log_noise)),
            metric_name="accuracy",
            metric=float(correct.double().mean()),
            calibration_error=expected_calibration_error(confidence, correct),
        )


LIKELIHOOD = Categorical()
