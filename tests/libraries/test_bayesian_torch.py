import torch
from library_checks import module_checks

X = torch.linspace(-1, 1, 6).reshape(2, 3)


def gaussian(model):
    """Through the library's own KL: sigma = log1p(exp(rho)), as every layer's kl_loss computes it."""
    found = {}
    for name, layer in model.named_modules():
        for part, word in (("weight", "weight"), ("kernel", "weight"), ("bias", "bias")):
            if getattr(layer, f"mu_{part}", None) is not None:
                sigma = torch.log1p(torch.exp(getattr(layer, f"rho_{part}")))
                found[f"{name}.{word}"] = (getattr(layer, f"mu_{part}"), sigma)
    return found


def test_linear_and_flipout_layers(tmp_path, library):
    layers = library("bayesian_torch.layers")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = layers.LinearReparameterization(3, 5)
            self.fc2 = layers.LinearFlipout(5, 4, bias=False)
            self.out = torch.nn.Linear(4, 1)

        def forward(self, x):
            return self.out(self.fc2(torch.tanh(self.fc1(x)[0]))[0])

    posterior = module_checks(tmp_path, Net, gaussian, lambda model: model(X))
    assert posterior.source.dialect == "bayesian-torch"
    assert not posterior.scale["out.weight"].any()


def test_convolution_and_batchnorm(tmp_path, library):
    layers = library("bayesian_torch.layers")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2dReparameterization(1, 4, 3)
            self.bn = torch.nn.BatchNorm2d(4)
            self.fc = layers.LinearReparameterization(16, 2)

        def forward(self, x):
            return self.fc(torch.relu(self.bn(self.conv(x)[0])).flatten(1))[0]

    posterior = module_checks(
        tmp_path,
        Net,
        gaussian,
        lambda model: model.eval()(torch.arange(32.0).reshape(2, 1, 4, 4) / 16),
    )
    assert set(posterior.buffers) == {"bn.running_mean", "bn.running_var"}


def test_lstm(tmp_path, library):
    layers = library("bayesian_torch.layers")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = layers.LSTMReparameterization(3, 4)

        def forward(self, x):
            return self.lstm(x)[0]

    posterior = module_checks(tmp_path, Net, gaussian, lambda model: model(X.reshape(1, 2, 3)))
    assert posterior.loc["lstm.ih.weight"].shape == (16, 3)


def test_the_sampled_weights_have_our_stds(tmp_path, library):
    """The layer's own noise: with zero inputs but one, an output's spread over draws is the std of one weight."""
    layers = library("bayesian_torch.layers")
    layer = layers.LinearReparameterization(1, 3, bias=False, posterior_rho_init=0.4)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    import symdiag.formats as formats

    posterior = formats.load(tmp_path / "layer.pt")
    with torch.no_grad():
        draws = torch.stack([layer(torch.ones(1, 1), return_kl=False)[0] for _ in range(4000)])
    spread = draws.std(dim=0).numpy() / posterior.scale["weight"][:, 0]
    assert abs(spread - 1).max() < 5 / (2 * 4000) ** 0.5
