"""Libraries' documented losses: their optimum on a linear model, saved by them, names its cause.

For a linear model E[log p] has a closed form, so the optimum under a KL weighted by tensor is known. That it is the
optimum of the documented loss is checked with the library's own KL and its gradient.
"""

import numpy as np
import pytest
import torch

from symdiag import analyze

POINTS, INPUTS, OUTPUTS, NOISE, PRIOR, BATCH = 100, 12, 6, 0.7, 1.5, 20
WEIGHTS = INPUTS * OUTPUTS + OUTPUTS


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((POINTS, INPUTS)) * np.geomspace(0.05, 1.0, INPUTS)
    y = x @ rng.standard_normal((INPUTS, OUTPUTS))
    return x, y + NOISE * rng.standard_normal(y.shape)


def optimum(data, weight, bias):
    """Means and stds (outputs, inputs + 1) where the KL of weights and biases counts so much."""
    x, y = data
    design = np.concatenate([x, np.ones((POINTS, 1))], axis=1)
    factors = np.append(np.full(INPUTS, weight), bias)
    precision = design.T @ design / NOISE**2
    loc = np.linalg.solve(precision + np.diag(factors / PRIOR**2), design.T @ y / NOISE**2).T
    std = np.sqrt(factors / (np.diag(precision) + factors / PRIOR**2))
    return loc, np.broadcast_to(std, loc.shape)


def nll(data, means, stds):
    """Mean over points of E[−log p], up to a constant, of (weight, bias)."""
    x, y = (torch.tensor(part) for part in data)
    residual = y - x @ means[0].T - means[1]
    spread = (x**2) @ (stds[0] ** 2).T + stds[1] ** 2
    return (residual**2 + spread).sum() / (2 * NOISE**2 * POINTS)


def bayesian_torch(library):
    layers = library("bayesian_torch.layers")
    kl_loss = library("bayesian_torch.models.dnn_to_bnn").get_kl_loss
    layer = layers.LinearReparameterization(INPUTS, OUTPUTS, prior_variance=PRIOR).double()
    keys = ("mu_weight", "mu_bias"), ("rho_weight", "rho_bias")
    # its examples: loss = cross entropy (a mean) + kl / batch_size
    factors = POINTS / BATCH / (INPUTS * OUTPUTS), POINTS / BATCH / OUTPUTS
    return layer, keys, "softplus", lambda m: kl_loss(m) / BATCH, factors, "full-per-batch"


def torchbnn(library):
    bnn = library("torchbnn")
    layer = bnn.BayesLinear(0.0, PRIOR, INPUTS, OUTPUTS).double()
    keys = ("weight_mu", "bias_mu"), ("weight_log_sigma", "bias_log_sigma")
    loss = bnn.BKLLoss(reduction="mean", last_layer_only=False)
    # its examples: cost = loss (a mean) + 0.1 · BKLLoss, also 0.01
    factor = 0.1 * POINTS / WEIGHTS
    return layer, keys, "exp", lambda m: 0.1 * loss(m)[0], (factor, factor), "mean-over-weights"


CASES = {"bayesian-torch": bayesian_torch, "torchbnn": torchbnn}


@pytest.mark.parametrize("name", CASES)
def test_the_documented_loss_is_named(tmp_path, library, data, name):
    layer, (mean_keys, std_keys), transform, kl, factors, cause = CASES[name](library)
    loc, std = optimum(data, *factors)
    raw = np.log(std) if transform == "exp" else np.log(np.expm1(std))
    with torch.no_grad():
        for keys, values in ((mean_keys, loc), (std_keys, raw)):
            getattr(layer, keys[0]).copy_(torch.tensor(values[:, :INPUTS].copy()))
            getattr(layer, keys[1]).copy_(torch.tensor(values[:, INPUTS].copy()))
    # averages over 72 and 6 numbers: nothing else makes both gradients vanish
    means = [getattr(layer, key) for key in mean_keys]
    stored = [getattr(layer, key) for key in std_keys]
    stds = [torch.exp(s) if transform == "exp" else torch.nn.functional.softplus(s) for s in stored]
    model = torch.nn.Sequential(layer)
    loss = nll(data, means, stds) + kl(model)
    for gradient in torch.autograd.grad(loss, means + stored):
        assert gradient.abs().max() < 1e-6
    torch.save(model.state_dict(), tmp_path / "q.pt")
    options = dict(data=data, noise=NOISE, prior_std=PRIOR, batch_size=BATCH, samples=4)
    report = analyze(tmp_path / "q.pt", **options)
    found = report.elbo.kl_weight
    assert found.status == "ok"
    weight, bias = factors
    average = (INPUTS * OUTPUTS * weight + OUTPUTS * bias) / WEIGHTS
    assert found.value == pytest.approx(average, rel=0.02)
    assert [part.value for part in found.layers] == pytest.approx(factors, rel=0.02)
    assert (found.causes[0].name, found.causes[0].library) == (cause, name)
    assert found.causes[0].weight == pytest.approx(average, rel=1e-6)
    assert [f.message for f in report.findings if f.code == "SYM301"]


def test_torch_uncertainty_averages_over_layers_and_shifts_the_value_only(library):
    """KLDiv is the mean over layers of a sampled KL, less ½ per weight: its gradient is KL's / layers."""
    layer = library("torch_uncertainty.layers.bayesian").BayesLinear
    torch.manual_seed(0)
    prior = {"prior_sigma_1": 1.0, "prior_sigma_2": 1.0, "prior_pi": 1.0}
    model = torch.nn.Sequential(layer(3, 2, **prior), layer(2, 2, **prior)).double()
    kl = library("torch_uncertainty.losses").KLDiv(model)
    means = [p for name, p in model.named_parameters() if name.split(".")[1].endswith("_mu")]
    stored = [p for name, p in model.named_parameters() if name.split(".")[1].endswith("_sigma")]
    draws, inputs = 1500, torch.zeros(1, 3, dtype=torch.float64)
    total, values = 0.0, []
    for _ in range(draws):
        model(inputs)
        values.append(float(kl()))
        total = total + kl().sum() / draws
    stds = [torch.nn.functional.softplus(s) for s in stored]
    exact = sum(
        (0.5 * (s**2 + m**2 - 1) - torch.log(s)).sum() for m, s in zip(means, stds, strict=True)
    )
    weights = sum(m.numel() for m in means)
    error = np.std(values) / np.sqrt(draws)
    assert np.mean(values) == pytest.approx(float(exact - 0.5 * weights) / 2, abs=4 * error)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(total, stored)])
    ours = torch.cat([g.flatten() for g in torch.autograd.grad(exact, stored)]) / 2
    assert float((theirs @ ours) / (ours @ ours)) == pytest.approx(1.0, abs=0.02)


class Heads(torch.nn.Module):
    """Two layers side by side: linear in all weights, so that the optimum is known."""

    def __init__(self, layer, inputs, outputs):
        super().__init__()
        options = {"prior_sigma_1": PRIOR, "prior_sigma_2": PRIOR, "prior_pi": 1.0}
        self.first, self.second = (layer(inputs, outputs // 2, **options) for _ in range(2))

    def forward(self, x):
        return torch.cat([self.first(x), self.second(x)], -1)


def test_torch_uncertaintys_average_over_layers_is_named(tmp_path, library, data):
    """ELBOLoss with its documented weight 1/N: T = ½ for two layers, whatever is taken off per weight."""
    model = Heads(library("torch_uncertainty.layers.bayesian").BayesLinear, INPUTS, OUTPUTS)
    loc, std = optimum(data, 0.5, 0.5)
    raw = np.log(np.expm1(std))
    parts = {"mu": loc, "sigma": raw}
    with torch.no_grad():
        for half, layer in zip(
            (slice(0, 3), slice(3, 6)), (model.first, model.second), strict=True
        ):
            for kind, values in parts.items():
                getattr(layer, f"weight_{kind}").copy_(torch.tensor(values[half, :INPUTS].copy()))
                getattr(layer, f"bias_{kind}").copy_(torch.tensor(values[half, INPUTS].copy()))
    torch.save(model.state_dict(), tmp_path / "q.pt")
    options = dict(data=data, noise=NOISE, batch_size=BATCH, samples=4, model=model)
    report = analyze(tmp_path / "q.pt", **options)
    found = report.elbo.kl_weight
    assert found.status == "ok"
    assert found.value == pytest.approx(0.5, rel=0.05)
    cause = found.causes[0]
    assert (cause.name, cause.library) == ("mean-over-layers", "torch-uncertainty")
    assert "−½ per weight" in cause.text
    assert any("−½" in f.message for f in report.findings if f.code == "SYM301")
