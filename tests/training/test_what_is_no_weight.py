"""Running statistics and latents that the network does not read: frozen, kept, and out of the way.

Each is trained, written back, and loaded where it came from.
"""

import numpy as np
import pytest
import torch
from torch import nn

import symdiag
from symdiag import formats
from symdiag.errors import UnsupportedError
from symdiag.objectives.penalty import StraddlingPenalty
from symdiag.posterior import Posterior
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem

TWIN = """
from torch import nn


def make():
    net = nn.Sequential()
    net.conv1, net.bn1, net.act = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
    net.pool, net.flat, net.fc = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    return net
"""
FEW = dict(
    training=TrainingConfig(steps=12, draws=4, interval=6),
    evaluation=EvaluationConfig(samples=64, budget=0.3),
    control_runs=2,
)


class Bayesian(nn.Module):
    """A deterministic layer's tensors as means and softplus stds; the draw is the layer's business."""

    def __init__(self, layer, rho):
        super().__init__()
        self.weight_mu, self.bias_mu = nn.Parameter(layer.weight), nn.Parameter(layer.bias)
        self.weight_rho = nn.Parameter(torch.full_like(layer.weight, rho))
        self.bias_rho = nn.Parameter(torch.full_like(layer.bias, rho))


def batchnorm_net(rho=-1.0):
    torch.manual_seed(0)
    net = nn.Sequential()
    net.conv1, net.bn1 = Bayesian(nn.Conv2d(1, 4, 3), rho), nn.BatchNorm2d(4)
    net.fc = Bayesian(nn.Linear(16, 3), rho)
    with torch.no_grad():
        net.bn1.running_mean.normal_()
        net.bn1.running_var.uniform_(0.5, 2.0)
    return net


@pytest.fixture
def batchnorm(tmp_path, monkeypatch):
    (tmp_path / "twin_of_bn.py").write_text(TWIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40)
    x = rng.standard_normal((40, 1, 8, 8)) + (y == 1)[:, None, None, None]
    torch.save(batchnorm_net().state_dict(), tmp_path / "bn.pt")
    return tmp_path, Dataset(x, y.astype(float))


def test_a_batchnorm_net_is_retrained_and_loads_again(batchnorm):

    folder, data = batchnorm
    result = symdiag.retrain(
        folder / "bn.pt",
        data,
        likelihood="categorical",
        prior_std=1.0,
        model="twin_of_bn:make",
        output=folder / "out.pt",
        keep_worse=True,
        scale_transform="softplus",
        **FEW,
    )
    assert result.report.retrained.units == 4
    assert [run.kind for run in result.report.runs][2:] == ["continued", "scratch"]
    net = batchnorm_net()
    old = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(torch.load(folder / "out.pt"))
    for name, value in net.state_dict().items():
        frozen = "running" in name or "batches" in name or name.startswith("bn1.")
        assert torch.equal(value, old[name]) == frozen, name


def test_statistics_are_named_and_move_with_their_units(batchnorm):
    """The group still acts on them, so that aligning moves them; H and training see the weights."""

    folder, _ = batchnorm
    posterior = formats.load(folder / "bn.pt", scale_transform="softplus")
    other = np.random.default_rng(1).permutation(4)
    moved = posterior.replace(
        loc={
            **posterior.loc,
            "conv1.weight": posterior.loc["conv1.weight"][other],
            "conv1.bias": posterior.loc["conv1.bias"][other],
            "fc.weight": posterior.loc["fc.weight"].reshape(3, 4, 4)[:, other].reshape(3, 16),
        },
        buffers={
            name: value[other] if value.shape == (4,) else value
            for name, value in posterior.buffers.items()
        },
    )
    aligned = symdiag.align(moved, posterior, model="twin_of_bn:make").posterior
    np.testing.assert_array_equal(
        aligned.buffers["bn1.running_mean"], posterior.buffers["bn1.running_mean"]
    )
    np.testing.assert_array_equal(aligned.loc["fc.weight"], posterior.loc["fc.weight"])


def test_the_penalty_works_on_a_batchnorm_net():
    net = batchnorm_net(rho=1.0)
    penalty = StraddlingPenalty(net, activation="relu", scale_transform="softplus", draws=16)
    value = penalty()
    value.backward()
    assert 0.1 < value.item() <= np.log(24) + 1e-6
    assert net.conv1.weight_mu.grad.abs().max() > 0
    assert net.bn1.running_mean.grad is None
    before = penalty.spec
    net.bn1.running_mean.add_(3.0)
    assert before == StraddlingPenalty(net, activation="relu", scale_transform="softplus").spec


def with_sigma(width=4):
    rng = np.random.default_rng(0)
    shapes = {
        "fc1.weight": (width, 1),
        "fc1.bias": (width,),
        "fc2.weight": (1, width),
        "fc2.bias": (1,),
    }
    loc = {"sigma": np.array(-1.2), **{n: rng.standard_normal(s) for n, s in shapes.items()}}
    return Posterior(loc, {n: np.full(v.shape, 0.3) for n, v in loc.items()})


def small_problem(posterior):
    from symdiag.symmetry.discovery import discover
    from symdiag.tasks._network_data import forward_pass

    found = discover(posterior, activation="tanh", generator=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    data = Dataset(rng.standard_normal((20, 1)), rng.standard_normal(20))
    return build_problem(
        posterior,
        found.spec,
        forward_pass(posterior, found),
        ModelConfig("gaussian", 0.3, 1.0),
        data,
    )


def test_an_unread_number_is_no_part_of_the_evidence():
    """KL, draws and training are those of the same posterior without it; writing keeps it."""
    whole = with_sigma()
    bare = whole.replace(
        loc={n: v for n, v in whole.loc.items() if n != "sigma"},
        scale={n: v for n, v in whole.scale.items() if n != "sigma"},
    )
    problem, reference = small_problem(whole), small_problem(bare)
    assert (problem.held, reference.held) == (("sigma",), ())
    assert "sigma" not in problem.prior.loc
    assert torch.equal(problem.start().loc, reference.start().loc)
    written = problem.start().posterior(whole)
    assert written.loc["sigma"] == whole.loc["sigma"]
    assert written.scale["sigma"] == whole.scale["sigma"]
    # a single number that the outputs depend on is a weight
    assert "fc2.bias" in problem.prior.loc


def trained_guide(kind):
    """A guide of a regression whose noise std is a latent of its own, its inputs and targets."""
    pyro = pytest.importorskip("pyro")
    from pyro import distributions as dist
    from pyro.infer import SVI, Trace_ELBO, autoguide
    from pyro.nn import PyroModule, PyroSample

    pyro.clear_param_store()
    pyro.set_rng_seed(0)

    class Net(PyroModule):
        def __init__(self):
            super().__init__()
            for name, (inputs, outputs) in {"fc1": (1, 5), "fc2": (5, 1)}.items():
                layer = PyroModule[nn.Linear](inputs, outputs)
                for part, shape in (("weight", [outputs, inputs]), ("bias", [outputs])):
                    prior = dist.Normal(0.0, 1.0).expand(shape).to_event(len(shape))
                    setattr(layer, part, PyroSample(prior))
                setattr(self, name, layer)

        def forward(self, x, y=None):
            sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
            mean = self.fc2(torch.tanh(self.fc1(x))).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
            return mean

    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (20, 1))
    inputs, targets = torch.tensor(x).float(), torch.tensor(np.sin(x[:, 0])).float()
    net = Net()
    guide = getattr(autoguide, kind)(net)
    svi = SVI(net, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    for _ in range(10):
        svi.step(inputs, targets)
    return guide, inputs, targets


def test_pyro_guide_with_a_noise_latent(tmp_path):
    guide, inputs, targets = trained_guide("AutoNormal")
    torch.save(guide.state_dict(), tmp_path / "guide.pt")
    found = symdiag.retrain(
        tmp_path / "guide.pt",
        Dataset(inputs.double().numpy(), targets.double().numpy()),
        noise=0.3,
        prior_std=1.0,
        activation="tanh",
        output=tmp_path / "out.pt",
        keep_worse=True,
        **FEW,
    )
    before = {k: v.clone() for k, v in guide.state_dict().items()}
    guide.load_state_dict(torch.load(tmp_path / "out.pt"))
    for name, value in guide.state_dict().items():
        assert torch.equal(value, before[name]) == ("sigma" in name), name
    # the guide with the new values, and the network written out: what the report says of them
    sums = []
    for _ in range(400):
        w = guide(inputs)
        hidden = torch.tanh(inputs @ w["fc1.weight"].T + w["fc1.bias"])
        mean = (hidden @ w["fc2.weight"].T + w["fc2.bias"]).squeeze(-1)
        sums.append(torch.distributions.Normal(mean, 0.3).log_prob(targets).sum().item())
    reported = found.report.retrained.log_likelihood
    error = np.hypot(np.std(sums) / 20.0, reported.std_error)
    assert abs(np.mean(sums) - reported.value) < 5.0 * error


@pytest.mark.parametrize("kind", ["AutoLowRankMultivariateNormal", "AutoMultivariateNormal"])
def test_correlated_guides_are_refused_with_the_reason(kind):
    guide, inputs, targets = trained_guide(kind)
    data = Dataset(inputs.double().numpy(), targets.double().numpy())
    with pytest.raises(UnsupportedError, match="weights are correlated") as caught:
        symdiag.retrain(guide, data, noise=0.3, prior_std=1.0, activation="tanh", **FEW)
    assert caught.value.code == "correlated-posterior"


def test_numpyro_params_with_a_noise_latent(tmp_path):
    whole = with_sigma()
    params = {
        f"{name.replace('.', '_')}_auto_{part}": values
        for part, tensors in (("loc", whole.loc), ("scale", whole.scale))
        for name, values in tensors.items()
    }
    renamed = {"fc1_weight": "w1", "fc1_bias": "b1", "fc2_weight": "w2", "fc2_bias": "b2"}
    for old, new in renamed.items():
        for part in ("loc", "scale"):
            value = params.pop(f"{old}_auto_{part}")
            params[f"{new}_auto_{part}"] = value.T if value.ndim == 2 else value
    np.savez(tmp_path / "params.npz", **params)
    rng = np.random.default_rng(1)
    data = Dataset(rng.standard_normal((20, 1)), rng.standard_normal(20))

    symdiag.retrain(
        tmp_path / "params.npz",
        data,
        noise=0.3,
        prior_std=1.0,
        activation="tanh",
        output=tmp_path / "out.npz",
        keep_worse=True,
        **FEW,
    )
    again = dict(np.load(tmp_path / "out.npz"))
    assert again.keys() == params.keys()
    for name, value in again.items():
        assert np.array_equal(value, params[name]) == ("sigma" in name), name
