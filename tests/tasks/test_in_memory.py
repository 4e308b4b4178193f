"""What is in memory is analysed as its file would be: modules, state dicts, dicts of arrays, draws."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import symdiag
from symdiag.errors import SymdiagError
from symdiag.formats.objects import kinds
from symdiag.report import render
from symdiag.tasks._inputs import find_symmetry
from symdiag.tasks.options import NetworkOptions
from symdiag.training.config import EvaluationConfig, TrainingConfig


class Layer(nn.Module):
    """Means and softplus stds; its forward draws."""

    def __init__(self, inputs, outputs):
        super().__init__()
        for part, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            setattr(self, f"{part}_mu", nn.Parameter(torch.randn(shape)))
            setattr(self, f"{part}_rho", nn.Parameter(torch.randn(shape) - 3.0))

    def forward(self, x):
        weight, bias = (
            getattr(self, f"{part}_mu")
            + nn.functional.softplus(getattr(self, f"{part}_rho"))
            * torch.randn_like(getattr(self, f"{part}_mu"))
            for part in ("weight", "bias")
        )
        return nn.functional.linear(x, weight, bias)


class Residual(nn.Module):
    """A net whose tensors alone look like a plain chain."""

    def __init__(self):
        super().__init__()
        self.inp, self.mid, self.out = Layer(2, 5), Layer(5, 5), Layer(5, 1)

    def forward(self, x):
        h = torch.tanh(self.inp(x))
        return self.out(h + torch.tanh(self.mid(h)))


class Plain(nn.Module):
    """One hidden layer."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = Layer(2, 5), Layer(5, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.inp(x)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Residual()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(24, 2)), rng.normal(size=24)


def stripped(report):
    """The report without where it came from and what is volatile."""
    plain = json.loads(render(report, "json"))
    for name in ("path", "sha256"):
        del plain["model"][name]
    plain["model"]["format"] = plain["model"]["format"].partition("/")[2]
    # commands that can be run next name a file, and what was said about it
    del plain["run"], plain["model"]["read_with"]
    for finding in plain["findings"]:
        assert "<Residual>" not in finding.pop("hint")
    return plain


OPTIONS = {"samples": 4, "seed": 4}


def test_module_state_dict_arrays_and_file_give_one_report(net, tmp_path, monkeypatch):
    """With the network said in all the ways that ``model=`` takes."""
    torch.save(net.state_dict(), tmp_path / "net.pt")
    arrays = {name: value.detach().numpy() for name, value in net.named_parameters()}
    monkeypatch.setitem(sys.modules, "here", SimpleNamespace(Residual=Residual))
    reports = [
        symdiag.analyze(net, **OPTIONS),
        symdiag.analyze(symdiag.load(net), **OPTIONS),
        symdiag.analyze(net.state_dict(), model=net, **OPTIONS),
        symdiag.analyze(arrays, model=Residual, **OPTIONS),
        symdiag.analyze(str(tmp_path / "net.pt"), model="here:Residual", **OPTIONS),
        symdiag.analyze(tmp_path / "net.pt", model=lambda: net, **OPTIONS),
    ]
    first = stripped(reports[0])
    # the skip joins both ends of ``mid``: one group of five units, where a chain would have two
    assert [group["width"] for group in first["groups"]] == [5]
    assert all(stripped(report) == first for report in reports[1:])
    assert reports[0].model.path == "<Residual>"


def test_analysing_a_module_changes_nothing_in_it(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    symdiag.analyze(net, **OPTIONS)
    assert net.training
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_retrained_values_load_back_into_the_same_module(data):
    torch.manual_seed(0)
    net = Plain()
    result = symdiag.retrain(
        net,
        data,
        noise=0.5,
        prior_std=1.0,
        training=TrainingConfig(steps=10, draws=2),
        evaluation=EvaluationConfig(samples=8, budget=0.1),
        control=False,
        anyway=True,
    )
    assert result.report.model.path == "<Plain>"
    before = symdiag.load(net)
    net.load_state_dict(result.state_dict())
    after = symdiag.load(net)
    assert any((after.loc[name] != before.loc[name]).any() for name in before.names)
    for name in after.names:
        np.testing.assert_allclose(after.loc[name], result.posterior.loc[name], rtol=1e-6)
        np.testing.assert_allclose(after.scale[name], result.posterior.scale[name], rtol=1e-5)
    # and a dict of arrays comes back as one, in its own dtype
    arrays = {name: value.detach().numpy() for name, value in net.named_parameters()}
    back = symdiag.formats.state_dict(symdiag.load(arrays))
    assert all((back[name] == arrays[name]).all() for name in arrays)
    assert {value.dtype for value in back.values()} == {np.dtype("float32")}


def test_a_module_is_aligned_onto_its_relabelled_copy(net):
    order = [4, 2, 0, 1, 3]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for part in ("mu", "rho"):
        for name, axis in (("inp.weight", 0), ("inp.bias", 0), ("mid.weight", 1)):
            state[f"{name}_{part}"] = state[f"{name}_{part}"].index_select(
                axis, torch.tensor(order)
            )
        for name, axis in (("mid.weight", 0), ("mid.bias", 0), ("out.weight", 1)):
            state[f"{name}_{part}"] = state[f"{name}_{part}"].index_select(
                axis, torch.tensor(order)
            )
    found = symdiag.align(net, state)
    assert found.report.verdict == "same mode up to symmetry"
    assert all(torch.allclose(v, state[n]) for n, v in found.state_dict().items())


def draws(count=12):
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (4, 2), "0.bias": (4,), "2.weight": (1, 4), "2.bias": (1,)}
    return {n: rng.normal(size=s) + 0.05 * rng.normal(size=(count, *s)) for n, s in shapes.items()}


@pytest.mark.parametrize(
    ("net", "activation"), [(Plain, "tanh"), (Residual, None)], ids=["chain", "residual"]
)
def test_a_module_counts_as_a_chain_only_where_it_computes_one(net, activation):
    torch.manual_seed(0)
    module = net()
    posterior = symdiag.load(module)
    found = find_symmetry(posterior, NetworkOptions(), 0)
    assert found.network is not None  # both nets' tensors form one
    assert (None if found.chain is None else found.chain.activation) == activation


class Recurrent(nn.Module):
    """A hand-written cell over the middle axis: its input has three axes, which no layer shows."""

    def __init__(self):
        super().__init__()
        self.inp, self.back, self.out = Layer(3, 4), Layer(4, 4), Layer(4, 1)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], 4)
        for step in range(x.shape[1]):
            h = torch.tanh(self.inp(x[:, step]) + self.back(h))
        return self.out(h)


def test_a_module_whose_input_is_unknown_says_how_to_show_it():
    torch.manual_seed(0)
    net = Recurrent()
    with pytest.raises(SymdiagError, match="shape of the module's input") as refused:
        symdiag.analyze(net, samples=8)
    assert "data=" in refused.value.hint
    inputs = torch.randn(6, 5, 3)
    from_data = symdiag.analyze(
        net, samples=8, data=(inputs, torch.randn(6, 1)), noise=1.0, prior_std=1.0
    )
    from_example = symdiag.analyze(net, samples=8, model=(net, inputs))
    for report in (from_data, from_example):
        assert report.network.source == "module"
        assert [group.width for group in report.groups] == [4]


def test_draws_in_memory_are_the_draws_of_their_file(tmp_path):
    stacked = draws()
    np.savez(tmp_path / "draws.npz", **stacked)
    members = [{name: torch.tensor(v[s]) for name, v in stacked.items()} for s in range(12)]
    nets = []
    for member in members:
        nets.append(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double())
        nets[-1].load_state_dict(member)
    reports = [
        symdiag.analyze_samples(source, activation="tanh", samples=4).report
        for source in (tmp_path / "draws.npz", stacked, members)
    ]
    figures = [(r.off, r.variance_after, r.straddling_after) for r in reports]
    assert figures[0] == figures[1] == figures[2]
    # modules say by themselves that tanh is odd
    own = symdiag.analyze_samples(nets, samples=4).report
    assert own.groups[0].signed
    assert own.variance_after == pytest.approx(figures[0][1])


def test_draws_of_arviz_have_chains(tmp_path):
    arviz = pytest.importorskip("arviz")
    chains = {name: v.reshape(3, 4, *v.shape[1:]) for name, v in draws().items()}
    try:
        found = arviz.from_dict(posterior=chains)  # InferenceData
    except TypeError:
        found = arviz.from_dict({"posterior": chains})  # DataTree, from ArviZ 1 on
    reports = [
        symdiag.analyze_samples(source, activation="tanh", samples=4).report
        for source in (found, found["posterior"])
    ]
    assert [report.input.chains for report in reports] == [3, 3]
    assert reports[0].variance_before == reports[1].variance_before
    found.to_netcdf(tmp_path / "draws.nc")
    read = symdiag.analyze_samples(tmp_path / "draws.nc", activation="tanh", samples=4).report
    assert read.variance_after == reports[0].variance_after
    assert read.rhat_after == reports[0].rhat_after


@pytest.mark.parametrize("thing", [3, object(), [1, 2], None, {1, 2}])
def test_what_is_no_posterior_is_refused_with_what_is(thing):
    with pytest.raises(SymdiagError) as caught:
        symdiag.analyze(thing)
    assert caught.value.code in ("unknown-object", "no-scales-found")


def test_every_kind_of_object_is_asked_once_and_none_takes_all():
    assert len(kinds()) >= 6
    assert not any(kind.matches(3) or kind.matches("model.pt") for kind in kinds())
    priorities = [kind.priority for kind in kinds()]
    assert priorities == sorted(priorities, reverse=True)


def test_draws_given_to_analyze_are_sent_where_they_belong():
    class InferenceData:
        posterior = None

    with pytest.raises(SymdiagError, match="analyze_samples") as caught:
        symdiag.analyze(InferenceData())
    assert caught.value.code == "unknown-object"
