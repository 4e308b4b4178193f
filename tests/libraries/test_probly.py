import numpy as np
import torch
from library_checks import module_checks


def gaussian(model):
    return {
        f"{name.removeprefix('model.')}.{part}": (
            getattr(layer, f"{part}_mu"),
            torch.log1p(torch.exp(getattr(layer, f"{part}_rho"))),
        )
        for name, layer in model.named_modules()
        for part in ("weight", "bias")
        if getattr(layer, f"{part}_rho", None) is not None
    }


def test_layers_with_their_priors(tmp_path, library):
    representation = library("probly.representation")
    base = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    make = lambda: representation.Bayesian(base, prior_mean=0.25, prior_std=0.6)  # noqa: E731
    posterior = module_checks(tmp_path, make, gaussian, lambda net: net.model(torch.ones(2, 3)))
    assert posterior.source.dialect == "probly"
    assert np.all(posterior.prior.loc["0.weight"] == 0.25)
    np.testing.assert_allclose(posterior.prior.scale["2.bias"], 0.6, rtol=1e-6)
