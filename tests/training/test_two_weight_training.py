"""The paper's two-weight net: f = ReLU(w₁x) + ReLU(w₂x), y = α|x|, against quadrature.

With unit noise and prior and N = 100, closed-form moments put the plain ELBO's optimum at the midpoint for α below
about .035 and on a mode from .04 on; α = .03 is used here (at .05 both objectives have the same optimum).
"""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.evaluation import evaluate
from symdiag.training.learning_problem import build_problem
from symdiag.training.loop import RunSettings, train

ALPHA, NOISE = 0.03, 1.0


def forward(weights, inputs):
    return torch.relu(inputs @ weights["w"].mT).sum(-1, keepdim=True)


@pytest.fixture(scope="module")
def problem():
    x = np.random.default_rng(0).uniform(-10.0, 10.0, (100, 1))
    start = Posterior({"w": np.array([[0.002], [-0.002]])}, {"w": np.full((2, 1), 0.05)})
    spec = PermutationSpec((Group("w", 2, (Member("w", 0),)),))
    return build_problem(
        start,
        spec,
        forward,
        ModelConfig("gaussian", NOISE, 1.0),
        Dataset(x, ALPHA * np.abs(x[:, 0])),
    )


@pytest.fixture(scope="module")
def trained(problem):
    results = {}
    for objective in ("elbo", "symmetrized"):
        config = TrainingConfig(objective=objective, steps=800, draws=32, patience=0, interval=400)
        results[objective], _ = train(problem, config.resolved(100, 2), RunSettings(objective))
    return results


def log_evidence(problem):
    """log ∫ p(y|w) p(w) dw on a grid that holds all of the posterior's mass."""
    axis = np.linspace(-0.6, 0.6, 601)
    x, y = problem.train.inputs.numpy()[:, 0], problem.train.targets.numpy()[:, 0]
    part = np.maximum(axis[:, None] * x, 0.0)  # (grid, N)
    log_joint = np.empty((len(axis), len(axis)))
    for i, first in enumerate(part):
        residual = y - first - part
        log_joint[i] = -0.5 * (residual**2).sum(1) - 50.0 * math.log(2 * math.pi)
    prior = -0.5 * axis**2 - 0.5 * math.log(2 * math.pi)
    return logsumexp(log_joint + prior[:, None] + prior[None, :]) + 2.0 * math.log(
        axis[1] - axis[0]
    )


def test_plain_elbo_stays_at_the_midpoint_and_the_symmetrised_one_does_not(trained):
    """The optima that one-dimensional quadrature over (±m, σ) finds: (0, .0311) and (.0300, .0237)."""
    found = {
        name: (q.loc.detach().numpy(), q.scale.detach().numpy()) for name, q in trained.items()
    }
    loc, scale = found["elbo"]
    np.testing.assert_allclose(loc, 0.0, atol=0.008)
    np.testing.assert_allclose(scale, 0.0311, rtol=0.12)
    loc, scale = found["symmetrized"]
    np.testing.assert_allclose(np.sort(loc), [-0.030, 0.030], atol=0.004)
    np.testing.assert_allclose(scale, 0.0237, rtol=0.12)


def test_the_symmetrised_bound_is_higher_and_below_the_evidence(problem, trained):
    config = EvaluationConfig(samples=4000, budget=2.0)
    found = {name: evaluate(problem, q, config) for name, q in trained.items()}
    assert found["symmetrized"].symmetrized.lower > found["elbo"].symmetrized.upper
    truth = log_evidence(problem)
    for result in found.values():
        assert result.symmetrized.lower < truth
        assert 0.0 <= result.straddling_entropy.value <= math.log(2.0)
    assert truth - found["symmetrized"].symmetrized.value < 0.5
