"""Priors, checks before training, and the likelihood of a batch."""

import dataclasses

import numpy as np
import pytest
import torch

from symdiag import formats
from symdiag.errors import InputError, SymmetryError, UnsupportedError, UsageError
from symdiag.objectives.priors import flat_prior, total_kl
from symdiag.objectives.variational import Layout, Variational
from symdiag.posterior import Covariance, Posterior
from symdiag.priors import GaussianPrior
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem
from symdiag.training.prior import check_prior_invariance, resolve_prior


def rebuild(problem, posterior=None, model=None, train=None):
    data = train or Dataset(problem.train.inputs.numpy(), problem.train.targets.numpy()[:, 0])
    return build_problem(
        posterior or problem.posterior,
        problem.spec,
        problem.forward,
        model or ModelConfig("gaussian", 0.3, 1.0),
        data,
    )


def test_prior_options_outrank_the_file(checkpoint):
    posterior = formats.load(checkpoint)
    ones = {k: np.ones(v.shape) for k, v in posterior.loc.items()}
    stored = posterior.replace(
        prior=GaussianPrior(
            {k: 0 * v for k, v in ones.items()}, {k: 2 * v for k, v in ones.items()}
        )
    )
    assert resolve_prior(stored, ModelConfig()).scale["fc1.bias"][0] == 2.0
    mixed = resolve_prior(stored, ModelConfig(prior_std={"": 3.0, "fc2": 0.5, "fc1.bias": 0.1}))
    assert [float(mixed.scale[n].flat[0]) for n in posterior.names] == [3.0, 0.1, 0.5, 0.5]
    with pytest.raises(UsageError) as caught:
        resolve_prior(posterior, ModelConfig())
    assert caught.value.code == "prior-unknown"
    with pytest.raises(UsageError, match="no tensor and no layer"):
        resolve_prior(posterior, ModelConfig(prior_std={"fc9": 1.0}))


def test_a_prior_that_tells_units_apart_is_refused(problem):
    prior = GaussianPrior({k: v.copy() for k, v in problem.prior.loc.items()}, problem.prior.scale)
    check_prior_invariance(prior, problem.spec)
    prior.loc["fc1.bias"][0] = 1.0
    with pytest.raises(SymmetryError) as caught:
        check_prior_invariance(prior, problem.spec)
    assert caught.value.code == "prior-not-invariant"


def test_kl_is_the_closed_form_of_the_posterior(problem):
    q = problem.start()
    assert total_kl(q, problem.flat_prior).item() == pytest.approx(
        problem.posterior.kl_to(problem.prior), rel=1e-12
    )
    scale = {k: v.copy() for k, v in problem.posterior.scale.items()}
    scale["fc2.bias"][:] = 0.0
    fixed = problem.posterior.replace(scale=scale)
    assert total_kl(Variational.of(fixed), problem.flat_prior).item() == pytest.approx(
        fixed.kl_to(problem.prior)
    )


def test_round_trip_through_flat_vectors(problem):
    back = problem.start().posterior(problem.posterior)
    for name in problem.posterior.names:
        np.testing.assert_array_equal(back.loc[name], problem.posterior.loc[name])
        np.testing.assert_allclose(back.scale[name], problem.posterior.scale[name], rtol=1e-14)
    layout = Layout.of(problem.posterior)
    prior = flat_prior(problem.prior, layout)
    assert prior.scale.shape == (layout.size,)


def test_what_cannot_be_trained_is_refused(problem):
    posterior = problem.posterior
    flat = posterior.num_parameters
    correlated = posterior.replace(
        covariance=Covariance(posterior.names, np.zeros((flat, 1)), np.ones(flat))
    )
    with pytest.raises(UnsupportedError) as caught:
        rebuild(problem, correlated)
    assert caught.value.code == "correlated-posterior"
    certain = Posterior(posterior.loc, {k: np.zeros_like(v) for k, v in posterior.scale.items()})
    with pytest.raises(UnsupportedError, match="nothing to train"):
        rebuild(problem, certain)


def test_data_of_another_shape_are_named(problem):
    with pytest.raises(InputError, match="cannot take inputs"):
        rebuild(problem, train=Dataset(np.zeros((4, 3)), np.zeros(4)))
    with pytest.raises(InputError, match="2 columns"):
        rebuild(problem, train=Dataset(np.zeros((4, 1)), np.zeros((4, 2))))


def test_learned_noise_starts_at_the_residuals_and_moves(problem):
    learning = rebuild(problem, model=ModelConfig("gaussian", None, 1.0))
    assert learning.learn_noise
    q = learning.start()
    weights = {k: torch.from_numpy(v)[None] for k, v in problem.posterior.loc.items()}
    residual = learning.forward(weights, learning.train.inputs)[0] - learning.train.targets
    assert q.log_noise.item() == pytest.approx(0.5 * np.log(residual.square().mean().item()))
    draws = learning.draws(q, torch.zeros(1, problem.posterior.num_parameters, dtype=torch.float64))
    learning.log_likelihood(q, draws, learning.train).sum().backward()
    assert q.log_noise.grad.item() == pytest.approx(
        0.0, abs=1e-9
    )  # at its maximum for the mean network
    fixed = dataclasses.replace(learning, learn_noise=False)
    q = fixed.start()
    fixed.log_likelihood(
        q, fixed.draws(q, torch.zeros_like(q.loc)[None]), fixed.train
    ).sum().backward()
    assert q.log_noise.grad is None
