import numpy as np
import pytest
import torch
from library_checks import module_checks

from symdiag import formats
from symdiag.priors import with_floor
from symdiag.training.config import ModelConfig
from symdiag.training.prior import resolve_prior


def gaussian(model):
    found = {}
    for name, layer in model.named_modules():
        for part in ("weight", "weight_ih", "weight_hh", "bias"):
            sampler = getattr(layer, f"{part}_sampler", None)
            if sampler is not None:
                sampler.sample()
                found[f"{name}.{part}"] = (sampler.mu, sampler.sigma)
    return found


def test_linear_layers(tmp_path, library):
    modules = library("blitz.modules")
    net = lambda: torch.nn.Sequential(  # noqa: E731
        modules.BayesianLinear(3, 5), torch.nn.ReLU(), modules.BayesianLinear(5, 2)
    )
    posterior = module_checks(tmp_path, net, gaussian, lambda model: model(torch.ones(2, 3)))
    assert posterior.source.dialect == "blitz"
    assert posterior.num_parameters == 3 * 5 + 5 + 5 * 2 + 2


@pytest.mark.parametrize("pi", [1, 0.4])
def test_its_kl_is_that_of_a_mixture_with_a_floor(tmp_path, library, pi):
    """log_prior adds 1e-6 to the density: beyond some prior stds a weight is free."""
    layer = library("blitz.modules").BayesianLinear(
        30, 4, prior_sigma_1=0.2, prior_sigma_2=0.01, prior_pi=pi, posterior_rho_init=-3.0
    )
    torch.manual_seed(0)
    with torch.no_grad():
        # up to ten prior stds
        layer.weight_mu.copy_(torch.randn(4, 30).sign() * torch.logspace(-3, 0.3, 30))
    torch.save(torch.nn.Sequential(layer).state_dict(), tmp_path / "q.pt")
    posterior = formats.load(tmp_path / "q.pt")
    prior = resolve_prior(posterior, ModelConfig(prior_mixture=(pi, 0.2, 0.01)))
    values = []
    for _ in range(3000):
        layer(torch.zeros(1, 30))
        values.append(float(layer.log_variational_posterior - layer.log_prior))
    error = np.std(values) / np.sqrt(len(values))
    assert posterior.kl_to(with_floor(prior, 1e-6)) == pytest.approx(np.mean(values), abs=4 * error)
    assert error < 0.3
    # without the floor it is another KL
    assert posterior.kl_to(prior) > np.mean(values) + 100.0


def test_convolution_lstm_and_embedding(tmp_path, library):
    modules = library("blitz.modules")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = modules.BayesianConv2d(1, 2, (3, 3), bias=False)
            self.lstm = modules.BayesianLSTM(2, 3)
            self.table = modules.BayesianEmbedding(7, 2)

        def forward(self, x):
            rows = self.conv(x).flatten(2).transpose(1, 2)
            return self.lstm(rows)[0].sum() + self.table(torch.tensor([1, 2])).sum()

    posterior = module_checks(tmp_path, Net, gaussian, lambda model: model(torch.ones(1, 1, 5, 5)))
    assert "conv.bias" not in posterior.names
    assert posterior.loc["lstm.weight_ih"].shape == (2, 12)


def test_a_linear_layer_without_bias_keeps_one_in_the_file_and_we_say_so(tmp_path, library):
    modules = library("blitz.modules")
    torch.save(
        torch.nn.Sequential(modules.BayesianLinear(3, 5, bias=False)).state_dict(),
        tmp_path / "net.pt",
    )
    notes = formats.load(tmp_path / "net.pt").source.notes
    assert any("bias" in note and "unused" in note for note in notes)
