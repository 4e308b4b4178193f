import numpy as np
import pytest
import torch
from library_checks import module_checks

from symdiag import formats


def gaussian(model):
    found = {}
    for name, layer in model.named_modules():
        for part in ("weight", "bias"):
            sampler = getattr(layer, f"{part}_sampler", None)
            if sampler is not None:
                sampler.sample()
                found[f"{name}.{part}"] = (sampler.mu, sampler.sigma)
    return found


def test_layers_whose_sigma_is_rho_and_their_prior(tmp_path, library):
    layers = library("torch_uncertainty.layers.bayesian")
    net = lambda: torch.nn.Sequential(  # noqa: E731
        layers.BayesConv2d(1, 2, 3, prior_sigma_1=0.3),
        torch.nn.Flatten(),
        layers.BayesLinear(8, 3, prior_sigma_1=0.7, prior_pi=1),
    )
    posterior = module_checks(tmp_path, net, gaussian, lambda model: model(torch.ones(1, 1, 4, 4)))
    assert posterior.source.dialect == "torch-uncertainty"
    assert np.isclose(posterior.prior.scale["2.weight"], 0.7)
    assert np.isclose(posterior.prior.scale["0.bias"], 0.3)


def test_a_mixture_prior_is_read_and_is_the_one_that_its_kl_has(tmp_path, library):
    layers = library("torch_uncertainty.layers.bayesian")
    torch.manual_seed(0)
    # spread over spike, slab and between
    layer = layers.BayesLinear(
        30, 4, prior_sigma_1=1.0, prior_sigma_2=0.05, prior_pi=0.3, sigma_init=-2.0
    )
    with torch.no_grad():
        layer.weight_mu.mul_(torch.logspace(-1, 1, 30))
    torch.save(torch.nn.Sequential(layer).state_dict(), tmp_path / "mixture.pt")
    posterior = formats.load(tmp_path / "mixture.pt")
    (weight, std), (rest, narrow) = posterior.prior.components["0.weight"]
    assert [weight, std, rest, narrow] == pytest.approx([0.3, 1.0, 0.7, 0.05], rel=1e-6)
    values = []
    for _ in range(4000):
        layer(torch.zeros(1, 30))
        values.append(float(layer.log_variational_posterior - layer.log_prior))
    # its −½ per weight (test_kl_conventions.py)
    theirs = np.mean(values) + 0.5 * posterior.num_parameters
    error = np.std(values) / np.sqrt(len(values))
    assert posterior.kl_to(posterior.prior) == pytest.approx(theirs, abs=4 * error)
    assert error < 0.3
