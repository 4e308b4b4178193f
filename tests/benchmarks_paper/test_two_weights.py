"""The tractable net: closed forms against sampling and against the package."""

import numpy as np
import pytest
import torch

from benchmarks.paper import two_weights as study
from symdiag.permanents import log_permanent

MEAN, STD = (
    torch.tensor([0.12, -0.05], dtype=torch.float64),
    torch.tensor([0.2, 0.1], dtype=torch.float64),
)


@pytest.fixture
def data():
    return study.Data(np.random.default_rng(0).uniform(-10, 10, 100), 0.15, 2.0)


@pytest.fixture
def draws():
    return MEAN + STD * torch.from_numpy(np.random.default_rng(1).standard_normal((40_000, 2)))


def test_squared_errors_match_sampling(data, draws):
    x = torch.from_numpy(data.x)
    outputs = torch.relu(draws[:, :1] * x) + torch.relu(draws[:, 1:] * x)
    target = 0.15 * x.abs()
    errors = (outputs - target).square().sum(1)
    tolerance = 4 * float(errors.std()) / len(draws) ** 0.5
    assert float(study.squared_error(MEAN, STD, data)) == pytest.approx(
        float(errors.mean()), abs=tolerance
    )
    of_mean = float((outputs.mean(0) - target).square().sum())
    assert float(study.squared_error(MEAN, STD, data, of_the_mean=True)) == pytest.approx(
        of_mean, rel=0.1
    )


def test_entropy_is_the_packages_permanent(draws):
    some = draws[:4000].numpy()
    log_q = (
        -0.5 * ((some[:, None, :] - MEAN.numpy()[None, :, None]) / STD.numpy()[None, :, None]) ** 2
    )
    log_q -= np.log(STD.numpy())[None, :, None]  # (S, slot, unit)
    relative = log_q - np.diagonal(log_q, axis1=1, axis2=2)[:, None, :]
    values = log_permanent(relative, generator=np.random.default_rng(0)).value
    expected, error = values.mean(), values.std() / 4000**0.5
    assert float(study.entropy(MEAN[None], STD[None])[0]) == pytest.approx(expected, abs=4 * error)


def test_contrastive_bound_with_two_elements_is_half_of_the_information(draws):
    """For |G| = 2 one uniform element is the identity half of the time: I² = I/2."""
    swapped = (draws.flip(-1) - MEAN) / STD
    log_ratio = 0.5 * (((draws - MEAN) / STD) ** 2 - swapped**2).sum(-1)
    pick = torch.from_numpy(np.random.default_rng(2).random(len(draws)) < 0.5)
    bound = np.log(2.0) - torch.logaddexp(torch.zeros(()), torch.where(pick, log_ratio, 0.0)).mean()
    information = np.log(2.0) - float(study.entropy(MEAN[None], STD[None])[0])
    assert float(bound) == pytest.approx(0.5 * information, abs=0.01)
    assert information > 0.1


def test_evidence_bounds_every_objective_and_is_attained_in_the_gaussian_case(data):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        mean, std = (
            torch.from_numpy(0.1 * rng.standard_normal(2)),
            torch.from_numpy(rng.uniform(0.02, 0.2, 2)),
        )
        symmetrised = (
            study.elbo(mean, std, data) + np.log(2.0) - study.entropy(mean[None], std[None])[0]
        )
        assert float(symmetrised) < study.log_evidence(data)
    vague = study.Data(data.x, 0.0, 1e6)  # no information in the data: the evidence is 1
    assert study.log_evidence(vague, reach=8.0) == pytest.approx(0.0, abs=1e-6)
