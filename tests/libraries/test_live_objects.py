"""An object of a library, its state dict and its file: one report, up to where it came from."""

import json
import sys

import numpy as np
import pytest
import torch
from library_checks import jitter
from test_whole_pickles import MODULES

import symdiag
from symdiag.report import render
from symdiag.training.config import EvaluationConfig, TrainingConfig

X = torch.linspace(-1, 1, 12).reshape(-1, 1)
Y = torch.sin(3 * X)
OPTIONS = {"samples": 16, "seed": 2}


def report_of(source, **options):
    """The report as plain values, without what says where the posterior lay."""
    found = symdiag.analyze(source, **OPTIONS, **options)
    plain = json.loads(render(found, "json"))
    del plain["run"], plain["model"]["path"], plain["model"]["sha256"]
    plain["model"]["format"] = plain["model"]["format"].partition("/")[2]
    # commands that can be run next name a file and what was said about it
    del plain["model"]["read_with"]
    for finding in plain["findings"]:
        del finding["hint"]
    return plain


def bayesian_torch(library):
    """Its layers return (outputs, kl), so that a Sequential of them does not run."""
    layers = library("bayesian_torch.layers")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = layers.LinearReparameterization(1, 5)
            self.fc2 = layers.LinearFlipout(5, 1)

        def forward(self, x):
            return self.fc2(torch.tanh(self.fc1(x)[0]))[0]

    return Net()


def torchbayesian(library):
    bnn = library("torchbayesian.bnn")
    return bnn.BayesianModule(
        torch.nn.Sequential(torch.nn.Linear(1, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    )


EVERY = {**MODULES, "bayesian-torch": bayesian_torch, "torchbayesian": torchbayesian}


@pytest.mark.parametrize("name", EVERY)
def test_modules(name, tmp_path, library):
    module = EVERY[name](library)
    jitter(module)
    torch.save(module.state_dict(), tmp_path / "state.pt")
    live = report_of(module)
    assert live["model"]["format"] == name
    assert not any("could not be used" in note for note in live["model"]["assumptions"])
    assert [group["width"] for group in live["groups"]] == [5]
    assert report_of(module.state_dict(), model=module) == live
    assert report_of(tmp_path / "state.pt", model=lambda: module) == live
    assert report_of(symdiag.load(module)) == live


@pytest.mark.parametrize("name", EVERY)
def test_state_dicts_load_back(name, library):
    module = EVERY[name](library)
    jitter(module)
    posterior = symdiag.load(module)
    changed = posterior.replace(loc={n: v + 1.0 for n, v in posterior.loc.items()})
    module.load_state_dict(symdiag.formats.state_dict(changed))
    again = symdiag.load(module)
    for tensor in again.names:
        np.testing.assert_allclose(again.loc[tensor], posterior.loc[tensor] + 1.0, rtol=1e-5)
        np.testing.assert_array_equal(again.scale[tensor], posterior.scale[tensor])


@pytest.mark.parametrize("subset", ["all", "last_layer"])
@pytest.mark.parametrize("structure", ["diag", "full"])
def test_laplace(subset, structure, tmp_path, library):
    from test_laplace import build, fitted

    model = build()
    approximation = fitted(library("laplace"), subset, structure, model)
    torch.save(approximation.state_dict(), tmp_path / "laplace.bin")
    torch.save(build().state_dict(), tmp_path / "model.bin")
    live = report_of(approximation)
    assert [group["width"] for group in live["groups"]] == [4, 3]
    second = {"companion": tmp_path / "model.bin"}
    assert report_of(tmp_path / "laplace.bin", model=model, **second) == live
    assert report_of(approximation.state_dict(), model=model, **second) == live


def test_ivon(tmp_path, library):
    from test_ivon import trained

    model, optimizer = trained(library("ivon"))
    state = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save(state, tmp_path / "both.pt")
    live = report_of((optimizer, model))
    assert live == report_of((model, optimizer))
    assert live == report_of(state, model=model)
    assert live == report_of(tmp_path / "both.pt", model=model)


@pytest.mark.parametrize("kind", ["AutoNormal", "AutoDiagonalNormal"])
def test_pyro(kind, tmp_path, library):
    from test_pyro import SHAPES, trained

    pyro = library("pyro")
    for part in ("nn", "infer", "infer.autoguide", "optim", "distributions"):
        library(f"pyro.{part}")
    pyro.clear_param_store()
    guide = trained(pyro, getattr(pyro.infer.autoguide, kind), steps=3)
    # a second guide in the store is no part of the first
    other = pyro.infer.autoguide.AutoNormal(
        lambda: pyro.sample("z", pyro.distributions.Normal(0, 1))
    )
    store = pyro.get_param_store()
    store.save(tmp_path / "store.pt")
    shapes = None if kind == "AutoNormal" else SHAPES
    filed = symdiag.load(tmp_path / "store.pt", model_shapes=shapes)
    network = symdiag.formats.network_of(symdiag.load(guide))
    assert isinstance(network, torch.nn.Module)
    live = report_of(guide)
    # a model with plates and observations is traced to the outputs it returns
    assert live["network"]["source"] == "module"
    without = [
        [json.loads(json.dumps(report)) for report in (live, filed_report)]
        for filed_report in (
            report_of(filed, model=network),
            report_of(symdiag.load(store, model_shapes=shapes), model=network),
        )
    ]
    for pair in without:
        for report in pair:
            del report["model"]["assumptions"]
            report["findings"] = [f for f in report["findings"] if f["code"] != "SYM104"]
        assert pair[0] == pair[1]
    # what comes back is what the guide itself loads
    posterior = symdiag.load(guide)
    moved = posterior.replace(loc={n: v + 1.0 for n, v in posterior.loc.items()})
    guide.load_state_dict(symdiag.formats.state_dict(moved))
    again = symdiag.load(pyro.infer.Predictive(guide.model, guide=guide, num_samples=2))
    for name in again.names:
        np.testing.assert_allclose(again.loc[name], posterior.loc[name] + 1.0, rtol=1e-5)
        np.testing.assert_array_equal(again.scale[name], posterior.scale[name])
    if kind == "AutoNormal":
        other()
        assert symdiag.load(guide).names == filed.names
    pyro.clear_param_store()


def test_posteriors(tmp_path, library):
    posteriors, torchopt = library("posteriors"), library("torchopt")
    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    def log_posterior(params, batch):
        outputs = torch.func.functional_call(model, params, batch[0])
        return -((outputs - batch[1]) ** 2).sum(), torch.tensor([])

    transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(lr=0.05), temperature=1.0)
    state = transform.init(dict(model.named_parameters()))
    state, _ = transform.update(state, (X, Y))
    plain = {
        part: {n: p.detach() for n, p in getattr(state, part).items()}
        for part in ("params", "log_sd_diag")
    }
    torch.save(plain, tmp_path / "state.pt")
    live = report_of(state, model=model)
    assert live == report_of(plain, model=model) == report_of(tmp_path / "state.pt", model=model)


def test_retrained_ivon_goes_back_into_both_of_its_parts(tmp_path, library):
    from test_ivon import trained

    model, optimizer = trained(library("ivon"))
    result = symdiag.retrain(
        (optimizer, model),
        (torch.randn(20, 3), torch.randn(20)),
        noise=0.5,
        training=TrainingConfig(steps=5, draws=2),
        evaluation=EvaluationConfig(samples=8, budget=0.1),
        control=False,
        output=tmp_path / "out.pt",
        keep_worse=True,
        anyway=True,
    )
    state = result.state_dict()
    model.load_state_dict(state["model_state_dict"])
    optimizer.load_state_dict(state["optimizer_state_dict"])
    filed = symdiag.load(tmp_path / "out.pt")
    for name, values in symdiag.load((model, optimizer)).loc.items():
        np.testing.assert_array_equal(values, filed.loc[name])
        np.testing.assert_allclose(values, result.posterior.loc[name], rtol=1e-6)


def test_numpyro(tmp_path, library):
    jax = library("jax")
    rng = np.random.default_rng(0)
    shapes = {"w1": (2, 4), "b1": (4,), "w2": (4, 1), "b2": (1,)}
    params = {
        f"{site}_auto_{part}": np.abs(rng.normal(size=shape)).astype("f4")
        for site, shape in shapes.items()
        for part in ("loc", "scale")
    }
    np.savez(tmp_path / "params.npz", **params)
    live = {name: jax.numpy.asarray(value) for name, value in params.items()}
    assert report_of(live) == report_of(params) == report_of(tmp_path / "params.npz")


def test_no_library_is_imported_for_it(library):
    """Only an object that exists can be of a library; a state dict imports none of them."""
    before = set(sys.modules)
    symdiag.load({"w1_mu": torch.ones(2, 2), "w1_std": torch.ones(2, 2)})
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not new & {"pyro", "laplace", "ivon", "posteriors", "jax", "numpyro"}
