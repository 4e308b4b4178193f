"""Every library's own modules, taken as they are: groups as in the plain network, outputs at the means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from symdiag.network.matching import read_posterior
from symdiag.network.module import user_model
from symdiag.symmetry.discovery import discover


def mlp(linear):
    return nn.Sequential(linear(3, 5), nn.Tanh(), linear(5, 4), nn.Tanh(), linear(4, 2))


class KeepsDivergences(nn.Module):
    """bayesian-torch: every layer returns its KL beside its outputs."""

    def __init__(self, linear):
        super().__init__()
        self.fc1, self.fc2, self.out = linear(3, 5), linear(5, 4), linear(4, 2)

    def forward(self, x):
        total = 0.0
        for layer in (self.fc1, self.fc2):
            x, kl = layer(x)
            x, total = torch.tanh(x), total + kl
        x, kl = self.out(x)
        return x, total + kl


def networks(name, library):
    if name.startswith("bayesian_torch"):
        layers = library("bayesian_torch.layers")
        return KeepsDivergences(getattr(layers, f"Linear{name.rpartition('.')[2]}"))
    if name == "blitz":
        return mlp(library("blitz.modules").BayesianLinear)
    if name == "torchbnn":
        layer = library("torchbnn").BayesLinear
        return mlp(lambda a, b: layer(0.0, 0.1, a, b))
    if name == "torch_uncertainty":
        return mlp(library("torch_uncertainty.layers.bayesian").BayesLinear)
    if name == "torch_blue":
        vi = library("torch_blue.vi")
        parts = (vi.VILinear(3, 5), nn.Tanh(), vi.VILinear(5, 4), nn.Tanh(), vi.VILinear(4, 2))
        return vi.VISequential(*parts)
    if name == "torchbayesian":
        return library("torchbayesian.bnn").BayesianModule(mlp(nn.Linear))
    assert name == "probly"
    return library("probly.representation").Bayesian(mlp(nn.Linear))


LIBRARIES = (
    "bayesian_torch.Reparameterization",
    "bayesian_torch.Flipout",
    "blitz",
    "torchbnn",
    "torch_uncertainty",
    "torch_blue",
    "torchbayesian",
    "probly",
)


@pytest.mark.parametrize("name", LIBRARIES)
def test_groups_and_outputs_are_those_of_the_plain_network(name, library):
    torch.manual_seed(0)
    module = networks(name, library)
    posterior = read_posterior(module)
    found = discover(posterior, model=module, generator=np.random.default_rng(0))
    assert found.provenance.source == "module"
    assert not found.failures
    assert [(g.width, g.signed, len(g.members)) for g in found.spec] == [(5, True, 3), (4, True, 3)]
    draw = {
        n: torch.from_numpy(v[0]) for n, v in posterior.sample(np.random.default_rng(1)).items()
    }
    x = torch.randn(6, 3, dtype=torch.float64)
    h, layers = x, dict.fromkeys(n.rpartition(".")[0] for n in posterior.names)
    for k, layer in enumerate(layers):
        h = h @ draw[f"{layer}.weight"].mT + draw[f"{layer}.bias"]
        h = torch.tanh(h) if k < 2 else h
    torch.testing.assert_close(user_model(module, posterior).forward(draw, x), h)


def test_a_model_made_bayesian_by_dnn_to_bnn(library):
    convert = library("bayesian_torch.models.dnn_to_bnn").dnn_to_bnn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.fc, self.out = nn.Linear(4 * 4 * 4, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = nn.functional.max_pool2d(torch.relu(self.bn(self.conv(x))), 2)
            return self.out(torch.relu(self.fc(x.flatten(1))))

    module = Net()
    settings = {"prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0}
    settings |= {"posterior_rho_init": -3.0, "type": "Flipout", "moped_enable": False}
    convert(module, {**settings, "moped_delta": 0.5})
    found = discover(
        read_posterior(module),
        model=lambda: (module, torch.zeros(2, 1, 8, 8)),
        generator=np.random.default_rng(0),
    )
    assert {g.name: (g.width, len(g.members)) for g in found.spec} == {"conv": (4, 7), "fc": (6, 3)}
    assert not found.failures


@pytest.mark.parametrize("kind", ["variational", "flipout"])
def test_resnet20_of_bayesian_torch_needs_no_twin(kind, library):
    zoo = library(f"bayesian_torch.models.bayesian.resnet_{kind}")
    module = zoo.resnet20()
    posterior = read_posterior(module)
    assumed = discover(posterior, activation="relu", generator=np.random.default_rng(0))
    assert assumed.provenance.source == "assumed"
    target = f"bayesian_torch.models.bayesian.resnet_{kind}:resnet20"
    found = discover(posterior, model=target, generator=np.random.default_rng(0))
    assert found.provenance.source == "module"
    assert not found.failures
    inner = {f"layer{s}.{b}.conv1": 16 * 2 ** (s - 1) for s in (1, 2, 3) for b in range(3)}
    assert {g.name: g.width for g in found.spec if g.name in inner} == inner
    # the chain would claim more: every channel of a residual stream on its own
    assert found.spec.log_order < assumed.spec.log_order


def test_a_pyro_module_gives_the_network_and_its_guide_does_not(library):
    pyro, nn_ = library("pyro"), library("pyro.nn")
    dist, guides = library("pyro.distributions"), library("pyro.infer.autoguide")

    class Net(nn_.PyroModule):
        def __init__(self):
            super().__init__()
            sizes = {"fc1": (3, 5), "fc2": (5, 5), "out": (5, 1)}
            for name, (a, b) in sizes.items():
                layer = nn_.PyroModule[nn.Linear](a, b)
                layer.weight = nn_.PyroSample(dist.Normal(0.0, 1.0).expand([b, a]).to_event(2))
                layer.bias = nn_.PyroSample(dist.Normal(0.0, 1.0).expand([b]).to_event(1))
                setattr(self, name, layer)

        def forward(self, x, y=None):
            h = torch.tanh(self.fc1(x))
            mean = self.out(h + torch.tanh(self.fc2(h))).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("obs", dist.Normal(mean, 0.1), obs=y)
            return mean

    pyro.clear_param_store()
    net = Net()
    guide = guides.AutoNormal(net)
    guide(torch.zeros(4, 3), torch.zeros(4))
    posterior = read_posterior(guide)
    before = set(pyro.get_param_store().keys())
    found = discover(posterior, model=net, generator=np.random.default_rng(0))
    assert {g.name: (g.width, g.signed) for g in found.spec} == {"fc1": (5, True)}
    assert not found.failures
    assert set(pyro.get_param_store().keys()) == before
    assert net.fc1.weight.shape == (5, 3)  # the user's own module still samples
    assert not isinstance(net.fc1.weight, nn.Parameter)
