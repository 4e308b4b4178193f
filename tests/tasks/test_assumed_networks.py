"""The network is never guessed in silence: what rests on an assumed graph says so or is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from residual_networks import NETWORKS, Reparameterised, data, inputs_of, saved, trained
from torch import nn

import symdiag
from symdiag import formats
from symdiag.cli.main import main
from symdiag.errors import SymdiagError, UsageError
from symdiag.network.module import user_model
from symdiag.objectives.penalty import StraddlingPenalty
from symdiag.report.views.analyze import document
from symdiag.symmetry.elements import act, random_action


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory):
    """A trained network, its file and its data."""
    cls, folder = NETWORKS[request.param], tmp_path_factory.mktemp(request.param)
    x, y = data(folder / "train.npz", inputs_of(cls()))
    module = trained(cls, x, y)
    return cls, module, saved(module, folder / "model.pt"), folder / "train.npz"


@pytest.mark.parametrize("command", ["retrain", "align"])
def test_nothing_is_written_without_the_network(case, command, tmp_path):
    _, _, path, train = case
    written = tmp_path / "out.pt"
    arguments = {
        "retrain": ["--data", str(train), "--activation", "tanh", "--prior-std", "1"],
        "align": [str(path)],
    }
    assert main([command, str(path), *arguments[command], "-o", str(written)]) == 2
    assert not written.exists()
    with pytest.raises(SymdiagError) as caught:
        symdiag.align(path, path, output=written)
    # what concatenates does not even look like a chain
    assert caught.value.code in {"network-assumed", "broken-chain"}
    assert "model=" in caught.value.hint


def test_no_verdict_stands_on_an_assumed_graph(case, capsys):
    cls, _, path, _ = case
    if cls is NETWORKS["dense"]:
        assert main(["analyze", str(path)]) == 2
        return
    report = symdiag.analyze(path, activation="tanh", samples=4)
    assert (report.network.source, report.verdict) == ("assumed", "inconclusive")
    assert report.verdict_if_chain in {"ok", "straddling", "inconclusive"}
    shown = document(report)
    assert "if this is a plain chain" in shown.headline
    assert "SYM107" in {f.code for f in report.findings}
    assert not [f for f in report.findings if f.severity == "error"]
    for options, code in (((), 0), (("--strict",), 1)):
        assert main(["analyze", str(path), "--samples", "4", "--format", "text", *options]) == code
    assert "if this is a plain chain" in capsys.readouterr().out.replace("\n", " ")


def test_who_vouches_for_the_chain_gets_the_verdict_and_the_report_says_who(case, monkeypatch):
    cls, _, path, _ = case
    if cls is NETWORKS["dense"]:
        return
    taken = symdiag.analyze(path, samples=4, assume_chain=True)
    assert (taken.network.source, taken.network.assume_chain) == ("assumed", True)
    assert taken.verdict == symdiag.analyze(path, samples=4).verdict_if_chain
    assert taken.verdict_if_chain is None
    assert taken.to_dict()["network"]["assume_chain"] is True
    assert "plain chain" not in document(taken).headline
    (path.parent / "symdiag.toml").write_text("assume_chain = true\n")
    monkeypatch.chdir(path.parent)
    wanted = 1 if taken.verdict == "straddling" else 0
    assert main(["analyze", str(path), "--samples", "4", "-q"]) == wanted
    (path.parent / "symdiag.toml").unlink()


def test_an_assumed_forward_pass_must_predict_the_training_data(tmp_path):
    """Where the block adds little, all goes over the skip, and the chain computes a constant."""
    cls = NETWORKS["residual"]
    x, y = data(tmp_path / "train.npz", 10)
    module = trained(cls, x, y, still=("b2.",))
    path = saved(module, tmp_path / "model.pt")
    options = {"activation": "tanh", "noise": 0.2, "prior_std": 1.0, "assume_chain": True}
    with pytest.raises(UsageError, match="no better than a constant") as caught:
        symdiag.retrain(path, tmp_path / "train.npz", steps=5, control=False, **options)
    assert caught.value.code == "network-assumed"
    with pytest.raises(UsageError, match="no better than a constant"):
        symdiag.analyze(path, data=tmp_path / "train.npz", samples=8, **options)
    del options["activation"], options["assume_chain"]
    known = symdiag.analyze(path, data=tmp_path / "train.npz", samples=8, model=cls, **options)
    assert known.elbo is not None


def test_all_ways_to_give_the_module_find_the_same(case, tmp_path):
    cls, module, path, _ = case
    torch.save(module, tmp_path / "whole.pt")
    ways = [
        symdiag.analyze(path, model=cls, samples=4),
        symdiag.analyze(path, model=module, samples=4),
        symdiag.analyze(path, model=lambda: (cls(), torch.zeros(3, inputs_of(module))), samples=4),
        symdiag.analyze(module, samples=4),
        symdiag.analyze(tmp_path / "whole.pt", model=cls, samples=4),
    ]
    assert {r.network.source for r in ways} == {"module"}
    groups = [[(g.name, g.width, g.signed, g.log_order) for g in r.groups] for r in ways]
    assert all(found == groups[0] for found in groups)
    values = [r.total.straddling_entropy.value for r in ways]
    assert values == [values[0]] * len(values)
    spec = {g.name: (g.width, g.signed) for g in StraddlingPenalty(module).spec}
    assert spec == {name: (width, signed) for name, width, signed, _ in groups[0]}


def mean_outputs(module, x):
    posterior = symdiag.load(module)
    weights = {name: torch.from_numpy(loc) for name, loc in posterior.loc.items()}
    return user_model(module, posterior).forward(weights, torch.from_numpy(x)).detach().numpy()


def test_an_aligned_file_is_the_same_function_in_the_module_itself(case, tmp_path):
    """A relabelled copy brought back: the module computes what it did, its state as it was."""
    cls, module, path, train = case
    x = np.load(train)["X"]
    posterior, known = formats.load(path), symdiag.analyze(path, model=cls, samples=2)
    from symdiag.symmetry.discovery import discover

    spec = discover(posterior, model=cls, generator=np.random.default_rng(0)).spec
    action = random_action(spec, np.random.default_rng(1))
    moved = posterior.replace(
        loc=act(spec, action, posterior.loc), scale=act(spec, action, posterior.scale, flip=False)
    )
    formats.save(moved, tmp_path / "moved.pt")
    back = tmp_path / "back.pt"
    found = symdiag.align(tmp_path / "moved.pt", path, model=cls, output=back)
    assert found.report.network.source == known.network.source == "module"
    assert found.report.distance.before > 1.0
    returned = cls()
    returned.load_state_dict(torch.load(back))
    np.testing.assert_allclose(mean_outputs(returned, x), mean_outputs(module, x), atol=1e-6)


def test_a_retrained_file_predicts_in_the_module_itself_what_the_report_says(case, tmp_path):
    cls, module, path, train = case
    x, y = (torch.tensor(np.load(train)[name]).float() for name in ("X", "y"))
    out = tmp_path / "fixed.pt"
    done = symdiag.retrain(
        path, train, model=cls, noise=0.3, prior_std=1.0, steps=60, control=False, output=out,
        samples=200, keep_worse=True, anyway=True, interval=60,
    )  # fmt: skip
    assert done.report.network.source == "module"
    retrained = cls()
    retrained.load_state_dict(torch.load(out))

    def log_likelihood(network, draws=600):
        """E_q log p(Y|X, ω) by the module's own sampling, and its standard error."""
        torch.manual_seed(5)
        with torch.no_grad():
            outputs = torch.stack([network(x) for _ in range(draws)])[:, :, 0].double()
        each = torch.distributions.Normal(outputs, 0.3).log_prob(y).sum(1)
        return float(each.mean()), float(each.std() / draws**0.5)

    for network, figures in ((module, done.report.before), (retrained, done.report.retrained)):
        value, error = log_likelihood(network)
        reported = figures.log_likelihood
        assert reported.lower - 4 * error <= value <= reported.upper + 4 * error


class Opaque(nn.Module):
    """A forward that branches on values, over layers of one width."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = (Reparameterised(*s) for s in ((3, 6), (6, 6), (6, 1)))

    def forward(self, x):
        h = torch.tanh(self.a(x))
        return self.out(torch.tanh(self.b(h)) if h.sum() > 0 else h)


def test_a_penalty_never_takes_a_chain_in_silence():
    with pytest.raises(UsageError, match="control flow") as caught:
        StraddlingPenalty(Opaque())
    assert caught.value.code == "network-assumed"
    assert "assume_chain=True" in caught.value.hint
    assert [g.width for g in StraddlingPenalty(Opaque(), assume_chain=True).spec] == [6, 6]
    guide = nn.Module()
    guide.a, guide.out = Reparameterised(3, 6), Reparameterised(6, 1)
    spec = StraddlingPenalty(guide, model=one_hidden).spec
    assert [(g.width, g.signed) for g in spec] == [(6, True)]


def one_hidden():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.out = Reparameterised(3, 6), Reparameterised(6, 1)

        def forward(self, x):
            return self.out(torch.tanh(self.a(x)))

    return Net()
