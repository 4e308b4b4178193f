"""Likelihoods against torch.distributions and hand-made predictive cases."""

import math

import numpy as np
import pytest
import torch
from torch import distributions as td

from symdiag.errors import InputError, UsageError
from symdiag.objectives.likelihoods import find_likelihood, likelihood_names
from symdiag.objectives.likelihoods.interface import (
    expected_calibration_error,
    mixture_nll,
    quantile_calibration_error,
)

ZERO = torch.zeros((), dtype=torch.float64)


def outputs(draws, points, size, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((draws, points, size)))


def test_every_module_is_found():
    assert likelihood_names() == ("bernoulli", "categorical", "gaussian", "poisson")
    with pytest.raises(UsageError, match="unknown likelihood"):
        find_likelihood("cauchy")


CASES = {
    "gaussian": (
        2,
        lambda f, s: td.Normal(f, s),
        torch.tensor([[0.3, -1.0], [2.0, 0.1], [-0.5, 0.7]]),
    ),
    "bernoulli": (
        2,
        lambda f, s: td.Bernoulli(logits=f),
        torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]),
    ),
    "poisson": (1, lambda f, s: td.Poisson(torch.exp(f)), torch.tensor([[0.0], [3.0], [7.0]])),
    "categorical": (4, lambda f, s: td.Categorical(logits=f), torch.tensor([0.0, 3.0, 2.0])),
}


@pytest.mark.parametrize("name", likelihood_names())
def test_log_prob_is_the_distribution(name):
    size, distribution, raw = CASES[name]
    f = outputs(5, 3, size)
    log_noise = torch.tensor(-0.4, dtype=torch.float64)
    likelihood = find_likelihood(name)
    y = likelihood.targets(raw.double(), size)
    expected = distribution(f, math.exp(-0.4)).log_prob(y)
    expected = expected if name == "categorical" else expected.sum(-1)
    torch.testing.assert_close(
        likelihood.log_prob(f, y, log_noise), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "raw", "size"),
    [
        ("gaussian", [[1.0, 2.0]], 1),
        ("categorical", [0.5], 3),
        ("categorical", [3.0], 3),
        ("categorical", [-1.0], 3),
        ("bernoulli", [0.5], 1),
        ("poisson", [-1.0], 1),
        ("poisson", [1.5], 1),
    ],
)
def test_wrong_targets_are_refused(name, raw, size):
    with pytest.raises(InputError) as caught:
        find_likelihood(name).targets(torch.tensor(raw).double(), size)
    assert caught.value.code == "bad-data"
    assert caught.value.hint


def test_one_hot_rows_are_labels():
    labels = find_likelihood("categorical").targets(torch.eye(3).double()[[2, 0, 1]], 3)
    assert labels.tolist() == [2, 0, 1]


def test_mixture_nll_averages_probabilities_not_logs():
    log_prob = torch.log(torch.tensor([[0.2, 0.9], [0.6, 0.1]], dtype=torch.float64))
    assert mixture_nll(log_prob) == pytest.approx(-(math.log(0.4) + math.log(0.5)) / 2, abs=1e-14)


@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_a_true_model_is_calibrated_and_a_sharp_one_is_not(name):
    generator = np.random.default_rng(1)
    f = torch.from_numpy(generator.uniform(2.0, 3.0, (1, 4000, 1)))
    draw = (
        generator.normal(f[0].numpy(), 1.0)
        if name == "gaussian"
        else generator.poisson(np.exp(f[0].numpy()))
    )
    y = torch.from_numpy(np.asarray(draw, dtype=float))
    likelihood = find_likelihood(name)
    assert likelihood.scores(f, y, ZERO).calibration_error < 0.03
    biased = likelihood.scores(f + 1.0, y, ZERO)
    assert biased.calibration_error > 0.15
    assert biased.metric > likelihood.scores(f, y, ZERO).metric


@pytest.mark.parametrize("name", ["categorical", "bernoulli"])
def test_classification_scores(name):
    likelihood = find_likelihood(name)
    logit = math.log(4.0)  # probability 0.8
    f = torch.full((2, 10, 1), logit, dtype=torch.float64)
    if name == "categorical":
        f = torch.cat([f, torch.zeros_like(f)], -1)
        raw = torch.tensor([0.0] * 8 + [1.0] * 2).double()
    else:
        raw = torch.tensor([1.0] * 8 + [0.0] * 2).double()
    scores = likelihood.scores(f, likelihood.targets(raw, f.shape[-1]), ZERO)
    assert scores.metric == pytest.approx(0.8)
    assert scores.calibration_error == pytest.approx(0.0, abs=1e-12)
    assert scores.nll == pytest.approx(-(8 * math.log(0.8) + 2 * math.log(0.2)) / 10, abs=1e-12)


def test_calibration_errors_of_known_cases():
    assert quantile_calibration_error(torch.full((5,), 0.5, dtype=torch.float64)) == pytest.approx(
        np.mean([abs((x >= 0.5 - 1e-12) - x) for x in np.linspace(0.05, 0.95, 19)]), abs=1e-12
    )
    gap = expected_calibration_error(torch.tensor([0.9, 0.9]).double(), torch.tensor([True, False]))
    assert gap == pytest.approx(0.4)
