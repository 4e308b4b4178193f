"""Pickled whole, an object of a library is the same posterior as the state it can also save."""

import pickle

import numpy as np
import pytest
import torch

import symdiag.formats as formats
from symdiag.symmetry.discovery import discover

X = torch.linspace(-1, 1, 12).reshape(-1, 1)
Y = torch.sin(3 * X)


def assert_same(one, other):
    """Two posteriors agree in every name and every bit."""
    assert one.names == other.names
    assert one.source.dialect == other.source.dialect
    for name in one.names:
        np.testing.assert_array_equal(one.loc[name], other.loc[name])
        np.testing.assert_array_equal(one.scale[name], other.scale[name])


def saved(path, thing, way):
    if way == "bare":
        path.write_bytes(pickle.dumps(thing))
    else:
        torch.save(thing, path, _use_new_zipfile_serialization=way == "zip")
    return path


def _bayesian_torch(library):
    layers = library("bayesian_torch.layers")
    return torch.nn.Sequential(
        layers.LinearReparameterization(1, 5), torch.nn.Tanh(), layers.LinearFlipout(5, 1)
    )


def _blitz(library):
    modules = library("blitz.modules")
    return torch.nn.Sequential(
        modules.BayesianLinear(1, 5), torch.nn.ReLU(), modules.BayesianLinear(5, 1)
    )


def _torchbnn(library):
    bnn = library("torchbnn")
    make = lambda i, o: bnn.BayesLinear(0, 0.1, i, o)  # noqa: E731
    return torch.nn.Sequential(make(1, 5), torch.nn.ReLU(), make(5, 1))


def _torch_uncertainty(library):
    layers = library("torch_uncertainty.layers.bayesian")
    return torch.nn.Sequential(layers.BayesLinear(1, 5), torch.nn.ReLU(), layers.BayesLinear(5, 1))


def _torch_blue(library):
    vi = library("torch_blue.vi")
    return vi.VISequential(vi.VILinear(1, 5), torch.nn.ReLU(), vi.VILinear(5, 1))


def _probly(library):
    base = torch.nn.Sequential(torch.nn.Linear(1, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    return library("probly.representation").Bayesian(base, prior_mean=0.25, prior_std=0.6)


# torchbayesian parametrizes its modules, which torch refuses to pickle whole.
MODULES = {
    "bayesian-torch": _bayesian_torch,
    "blitz": _blitz,
    "torchbnn": _torchbnn,
    "torch-uncertainty": _torch_uncertainty,
    "torch-blue": _torch_blue,
    "probly": _probly,
}


@pytest.mark.parametrize("way", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("name", MODULES)
def test_module(name, way, tmp_path, library):
    module = MODULES[name](library)
    whole = formats.load(saved(tmp_path / "whole", module, way))
    state = formats.load(saved(tmp_path / "state", module.state_dict(), "zip"))
    assert whole.source.dialect == name
    assert_same(whole, state)
    formats.save(whole, tmp_path / "again")
    if way != "bare":
        module.load_state_dict(torch.load(tmp_path / "again", weights_only=True))


@pytest.mark.parametrize("name", MODULES)
def test_module_needs_no_option(name, tmp_path, library):
    """Its layers, their order and their activation are in the pickle: groups, flips and function."""
    module = MODULES[name](library)
    whole = formats.load(saved(tmp_path / "whole", module, "zip"))
    found = discover(whole, generator=np.random.default_rng(0))
    assert found.provenance.source == "pickled-module"
    assert not found.provenance.function
    odd = name == "bayesian-torch"
    assert found.activation == ("tanh" if odd else "relu")
    assert [(group.width, group.signed) for group in found.spec] == [(5, odd)]
    inputs = torch.randn(6, 1, dtype=torch.float64)
    weights = {key: torch.from_numpy(value) for key, value in whole.loc.items()}
    first, second = (weights[key] for key in whole.names if key.endswith("weight"))
    biases = [weights[key] for key in whole.names if key.endswith("bias")]
    hidden = (torch.tanh if odd else torch.relu)(inputs @ first.T + biases[0])
    torch.testing.assert_close(found.forward(weights, inputs), hidden @ second.T + biases[1])


@pytest.mark.parametrize("structure", ["diag", "full", "kron"])
def test_laplace_object_brings_its_network(structure, tmp_path, library):
    """Of all weights; a last-layer one holds a local function, which no pickle can name."""
    from test_laplace import build, fitted

    model = build()
    approximation = fitted(library("laplace"), "all", structure, model)
    torch.save(approximation.state_dict(), tmp_path / "state")
    torch.save(build().state_dict(), tmp_path / "model")
    whole = formats.load(saved(tmp_path / "whole", approximation, "zip"))
    assert_same(whole, formats.load(tmp_path / "state", companion=tmp_path / "model"))
    formats.save(whole, tmp_path / "again")
    assert_same(formats.load(tmp_path / "again"), whole)


@pytest.mark.parametrize(
    "kind",
    ["AutoNormal", "AutoDiagonalNormal", "AutoLowRankMultivariateNormal", "AutoMultivariateNormal"],
)
def test_pyro_guide(kind, tmp_path, library):
    """A flat guide keeps the shapes of its latent variables, so that nothing has to be asked."""
    pyro = library("pyro")
    guides = library("pyro.infer.autoguide")
    pyro.clear_param_store()
    guide = getattr(guides, kind)(_model)
    guide(X, Y)
    torch.save(guide.state_dict(), tmp_path / "state")
    shapes = (
        {name: tuple(value.shape) for name, value in guide().items()}
        if kind != "AutoNormal"
        else None
    )
    state = formats.load(tmp_path / "state", model_shapes=shapes)
    assert_same(formats.load(saved(tmp_path / "whole", guide, "zip")), state)
    predictive = library("pyro.infer").Predictive(_model, guide=guide, num_samples=3)
    assert_same(formats.load(saved(tmp_path / "predictive", predictive, "zip")), state)


def test_pyro_guide_with_another_constraint(tmp_path, library):
    """The object says how its scales are constrained; its state dict does not."""
    pyro = library("pyro")
    guides = library("pyro.infer.autoguide")
    positive = library("torch.distributions.constraints").positive
    pyro.clear_param_store()
    guide = guides.AutoNormal(_model)
    guide.scale_constraint = positive
    guide(X, Y)
    whole = formats.load(saved(tmp_path / "whole", guide, "zip"))
    assert whole.source.scale_transform == "exp"
    half = 0.6744897501960817  # the standard normal's third quartile
    for name, (median, upper) in guide.quantiles([0.5, 0.75]).items():
        expected = ((upper - median) / half).detach().double().numpy()
        np.testing.assert_allclose(whole.scale[name], expected, rtol=1e-5)


def _model(x=None, y=None):
    import pyro
    from pyro.distributions import Normal

    w1 = pyro.sample("fc1.weight", Normal(0.0, 1.0).expand((3, 1)).to_event(2))
    b1 = pyro.sample("fc1.bias", Normal(0.0, 1.0).expand((3,)).to_event(1))
    w2 = pyro.sample("fc2.weight", Normal(0.0, 1.0).expand((1, 3)).to_event(2))
    mean = torch.tanh(X @ w1.T + b1) @ w2.T
    pyro.sample("obs", Normal(mean, 0.2).to_event(2), obs=Y)


def test_ivon_objects_in_one_file(tmp_path, library):
    from test_ivon import trained

    model, optimizer = trained(library("ivon"))
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, tmp_path / "state")
    whole = saved(tmp_path / "whole", {"model": model, "optimizer": optimizer}, "zip")
    assert_same(formats.load(whole), formats.load(tmp_path / "state"))


def test_numpyro_params_pickled(tmp_path, library):
    jax = library("jax")
    library("numpyro")
    rng = np.random.default_rng(0)
    shapes = {"w1": (2, 4), "b1": (4,), "w2": (4, 1), "b2": (1,)}
    params = {
        f"{site}_auto_{part}": np.abs(rng.normal(size=shape)).astype("f4")
        for site, shape in shapes.items()
        for part in ("loc", "scale")
    }
    np.savez(tmp_path / "params.npz", **params)
    arrays = {name: jax.numpy.asarray(value) for name, value in params.items()}
    (tmp_path / "whole").write_bytes(pickle.dumps(arrays))
    assert_same(formats.load(tmp_path / "whole"), formats.load(tmp_path / "params.npz"))
