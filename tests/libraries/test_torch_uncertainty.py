import numpy as np
import torch
from library_checks import module_checks


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


def test_a_real_mixture_is_no_gaussian_prior(tmp_path, library):
    import symdiag.formats as formats

    layers = library("torch_uncertainty.layers.bayesian")
    torch.save(
        torch.nn.Sequential(layers.BayesLinear(3, 2, prior_pi=0.5)).state_dict(),
        tmp_path / "mixture.pt",
    )
    assert formats.load(tmp_path / "mixture.pt").prior is None
