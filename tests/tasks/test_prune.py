"""``prune``: units that can go are gone from the file, and the function stays."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import symdiag
from symdiag import formats
from symdiag.diagnostics.collapse import Removable
from symdiag.errors import SymdiagError, UnsupportedError, UsageError
from symdiag.formats.narrowing import narrowed
from symdiag.network import forward, infer_network

ROOT = Path(__file__).parents[2]
MODELS, ZOO = ROOT / "sample_models", ROOT / "tests" / "data" / "zoo"
WAVE = dict(activation="relu", data=MODELS / "wave.npz", prior_std=1.0, samples=400)


def outputs(posterior, draws, x):
    network = infer_network(posterior, activation="relu")
    return forward(network, {n: torch.from_numpy(v) for n, v in draws.items()}, None, x).numpy()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    path = tmp_path_factory.mktemp("prune") / "small.pt"
    done = symdiag.prune(
        MODELS / "wave-straddled.pt", **WAVE, noise=0.3, test=MODELS / "wave-test.npz", output=path
    )
    return done, path


def test_the_straddled_wave_loses_most_of_its_units_and_gains_evidence(pruned):
    report = pruned[0].report
    before, after = report.stages
    assert report.verdict == "pruned"
    assert after.widths[0] <= 0.4 * before.widths[0]
    changes = {c.name: c for c in report.changes}
    assert changes["elbo"].lower > 30.0
    assert changes["symmetrized"].lower > 30.0
    assert abs(changes["rmse"].value) <= 0.005
    assert report.mean_change <= 0.1
    # what is said beside the gain: the noise of the removed units is gone
    assert after.predictive_std < before.predictive_std
    assert "another model" in report.statement
    # Var before = 0.3² + that of the weights; the noise std that is named makes up for the rest
    gone = before.predictive_std**2 - after.predictive_std**2
    assert f"--noise {math.sqrt(0.09 + gone):.3g} in the place of 0.3 " in report.statement


def test_differences_are_those_of_the_stages(pruned):
    report = pruned[0].report
    before, after = report.stages
    changes = {c.name: c.value for c in report.changes}
    for name in ("elbo", "symmetrized", "straddling_entropy"):
        expected = getattr(after, name).value - getattr(before, name).value
        assert changes[name] == pytest.approx(expected, abs=1e-6), name
    assert after.log_order == pytest.approx(math.lgamma(after.widths[0] + 1))
    by_definition = after.elbo.value + after.log_order - after.straddling_entropy.value
    assert after.symmetrized.value == pytest.approx(by_definition, abs=1e-9)


def test_the_file_is_the_narrower_net_in_the_same_dialect(pruned):
    done, path = pruned
    wide, small = formats.load(MODELS / "wave-straddled.pt"), formats.load(path)
    assert small.source.dialect == wide.source.dialect
    stays = np.setdiff1d(np.arange(20), done.report.removed[0].units)
    np.testing.assert_array_equal(small.loc["fc1.weight"], wide.loc["fc1.weight"][stays])
    np.testing.assert_array_equal(small.scale["fc2.weight"], wide.scale["fc2.weight"][:, stays])
    state = torch.load(path, weights_only=True)
    assert {tuple(v.shape) for k, v in state.items() if "fc1" in k} == {(4, 1), (4,)}


def test_mean_functions_agree_by_plain_monte_carlo(pruned):
    wide, small = formats.load(MODELS / "wave-straddled.pt"), formats.load(pruned[1])
    x = torch.from_numpy(np.load(MODELS / "wave.npz")["X"]).double()
    rng = np.random.default_rng(0)
    first, second = (
        outputs(wide, wide.sample(rng, 4000), x),
        outputs(small, small.sample(rng, 4000), x),
    )
    change = first.mean(0) - second.mean(0)
    noise = np.sqrt((first.var(0) + second.var(0)).mean() / 4000)
    assert np.sqrt((change**2).mean()) <= 0.1 * np.sqrt(first.var(0).mean()) + 3 * noise


def test_polishing_takes_the_noise_up_where_it_is_learned():
    report = symdiag.prune(
        MODELS / "wave-straddled.pt", **WAVE, test=MODELS / "wave-test.npz", polish=1000
    ).report
    assert [s.name for s in report.stages] == ["before", "pruned", "polished"]
    changes = {c.name: c for c in report.changes_polished}
    assert changes["test_nll"].lower <= 0.0  # no worse than before, paired by test point
    assert changes["symmetrized"].lower > 30.0


def test_nothing_to_prune_writes_nothing(tmp_path):
    done = symdiag.prune(
        MODELS / "wave-healthy.pt", activation="relu", output=tmp_path / "x.pt", samples=64
    )
    assert done.report.verdict == "nothing to prune"
    # no narrower net, no removed noise: nothing is said of them
    assert "narrower net is" not in str(done.report)
    assert done.report.output is None
    assert not (tmp_path / "x.pt").exists()
    assert [s.name for s in done.report.stages] == ["before"]


@pytest.mark.parametrize(
    "name",
    [
        "blitz-mlp1",
        "torchbnn-mlp1",
        "handmade-W_p-mlp2",
        "torch-blue-mlp2",
        "torch-uncertainty-mlp2",
    ],
)
def test_every_keyed_dialect_can_be_narrowed_and_read_again(name, tmp_path):
    posterior = formats.load(ZOO / f"{name}.pt")
    first = posterior.names[0]
    axis = 1 if name == "handmade-W_p-mlp2" else 0
    index = np.arange(0, posterior.loc[first].shape[axis], 2)
    small = narrowed(posterior, {first: {axis: index}})
    formats.save(small, tmp_path / "n.pt")
    again = formats.load(tmp_path / "n.pt")
    for part in ("loc", "scale"):
        np.testing.assert_array_equal(
            getattr(again, part)[first], np.take(getattr(posterior, part)[first], index, axis)
        )


def test_refusals(tmp_path):
    straddled = MODELS / "wave-straddled.pt"
    with pytest.raises(UsageError) as caught:
        symdiag.prune(straddled, activation="relu", polish=10)
    assert caught.value.code == "bad-option"
    with pytest.raises(UnsupportedError) as caught:
        symdiag.prune(straddled, model="somewhere:net")
    assert caught.value.code == "cannot-narrow"
    with pytest.raises(SymdiagError) as caught:
        symdiag.prune(straddled)
    assert "activation" in caught.value.hint
    flat = formats.load(ZOO / "ivon-mlp2.pt")
    with pytest.raises(UnsupportedError) as caught:
        narrowed(flat, {flat.names[0]: {0: np.arange(2)}})
    assert caught.value.code == "cannot-narrow"


def test_units_that_matter_do_not_go(monkeypatch, tmp_path):
    """Whatever was flagged: the narrower net's own mean function decides."""
    module = importlib.import_module("symdiag.tasks.prune")

    def wrong(posterior, spec, setting, **options):
        return Removable({"fc1": np.arange(20) < 15}, 0.05, True)

    monkeypatch.setattr(module, "removable", wrong)
    with pytest.raises(UnsupportedError) as caught:
        symdiag.prune(
            MODELS / "wave-straddled.pt", activation="relu", samples=32, output=tmp_path / "x.pt"
        )
    assert caught.value.code == "mean-function-changes"
    assert not (tmp_path / "x.pt").exists()
