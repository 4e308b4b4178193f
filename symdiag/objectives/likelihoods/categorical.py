"""Categorical likelihood: class labels with logits f(x)."""

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
    expected_calibration_error,
    mixture_nll,
)


class Categorical:
    """log softmax(f)_y."""

    name = "categorical"
    has_noise = False
    refusals = (
        Refusal([0.5], 3),
        Refusal([3.0], 3),
        Refusal([-1.0], 3),
        Refusal([[0.0, 1.0]], 3),
        Refusal([[0.3, 0.7]], 2),
        Refusal([[1.0, 1.0]], 2),
    )

    def targets(self, raw: Tensor, outputs: int) -> Tensor:
        """(N,) labels, (N, 1), or one-hot rows (N, outputs) → (N,) int64 in [0, outputs)."""
        labels = raw.reshape(len(raw), -1)
        if labels.shape[1] == outputs > 1 and _one_hot(labels):
            return labels.argmax(1)
        whole = labels.shape[1] == 1 and bool((labels == labels.round()).all())
        if not whole or int(labels.min()) < 0 or int(labels.max()) >= outputs:
            raise InputError(
                f"class labels must be whole numbers in 0..{outputs - 1}; {_found(labels)}",
                code="bad-data",
                hint="Give integer labels (N,) or one-hot rows (N, classes).",
            )
        return labels[:, 0].long()

    def log_prob(self, outputs: Tensor, targets: Tensor, log_noise: Tensor) -> Tensor:
        """Nats per draw and point: (S, N, classes) → (S, N)."""
        logp = torch.log_softmax(outputs, dim=-1)
        # gather wants the index to have the outputs' own leading axes: (N,) → (S, N, 1)
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

    def reference(self, outputs: NDArray[np.float64], noise: float) -> Sequence[Any]:
        """One label, whatever the number of classes."""
        from scipy import special, stats

        return [stats.rv_discrete(values=(np.arange(len(outputs)), special.softmax(outputs)))]


def _one_hot(rows: Tensor) -> bool:
    """Whether every row has one 1 and zeros otherwise."""
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all())


def _found(labels: Tensor) -> str:
    if labels.shape[1] != 1:
        return f"found {labels.shape[1]} columns that are not one-hot"
    return f"found {float(labels.min()):g} to {float(labels.max()):g}"


LIKELIHOOD = Categorical()
