"""Retraining on another device: same draws, same path. Skipped on a GPU where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import symdiag
from symdiag.training.config import EvaluationConfig, TrainingConfig

SAMPLES = Path(__file__).parent.parent.parent / "sample_models"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(
    ("objective", "marginals"), [("symmetrized", "bethe"), ("infonce", "auto"), ("elbo", "auto")]
)
@pytest.mark.parametrize(
    ("name", "activation"), [("wave-tanh.pt", "tanh"), ("wave-straddled.pt", "relu")]
)
def test_retraining_takes_the_same_path(objective, marginals, name, activation):
    """Random numbers are drawn on the CPU and Bethe marginals are smooth: only rounding differs."""
    found = [
        symdiag.retrain(
            SAMPLES / name,
            SAMPLES / "wave.npz",
            test=SAMPLES / "wave-test.npz",
            training=TrainingConfig(
                objective=objective, marginals=marginals, steps=20, draws=4, patience=0
            ),
            noise=0.3,
            prior_std=1.0,
            activation=activation,
            evaluation=EvaluationConfig(samples=50, budget=0.2),
            control_runs=0,
            device=device,
        )
        for device in ("cpu", "cuda")
    ]
    for part in ("loc", "scale"):
        here, there = (getattr(run.posterior, part) for run in found)
        for tensor in here:
            np.testing.assert_allclose(here[tensor], there[tensor], rtol=1e-4, atol=1e-5)
    here, there = (run.report.retrained.test for run in found)
    assert here.nll == pytest.approx(there.nll, rel=1e-4)
