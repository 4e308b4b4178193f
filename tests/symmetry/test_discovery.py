import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import AttentionBlock, ResidualMLP, SmallResNet, outputs_of, posterior_of_module

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))

from network_examples import DATA, ZOO, mlp_shapes, random_posterior

from symdiag import analyze
from symdiag.errors import UnsupportedError, UsageError
from symdiag.posterior import Posterior, Source
from symdiag.priors import GaussianPrior
from symdiag.symmetry.discovery import discover
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.symmetry.specfile import write_spec
from symdiag.symmetry.verification import prior_violations

RESIDUAL_ORDER = math.lgamma(13) + math.lgamma(9)


def rng():
    return np.random.default_rng(0)


def zoo_means(name):
    with np.load(DATA / "zoo_means.npz") as archive:
        means = {
            k.split("/")[1]: archive[k].astype(float)
            for k in archive.files
            if k.startswith(f"{name}/") and "//" not in k
        }
        return means, archive[f"{name}//inputs"].astype(float), archive[f"{name}//outputs"]


def residual_posterior():
    means, inputs, outputs = zoo_means("handmade-logvar-resmlp")
    return (
        Posterior(means, {k: np.ones_like(v) for k, v in means.items()}),
        torch.from_numpy(inputs),
        outputs,
    )


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module of the user's in the working directory."""
    name = f"user_nets_{tmp_path.name.replace('-', '_')}"
    lines = [
        "import architectures, torch",
        "def residual():",
        "    return architectures.ResidualMLP()",
    ]
    lines += ["def resnet():", "    return architectures.SmallResNet()"]
    lines += ["def attention():", "    return architectures.AttentionBlock()"]
    lines += [
        "def tokens():",
        "    return architectures.TokenAttention(), torch.zeros(2, 5, dtype=torch.long)",
    ]
    (tmp_path / f"{name}.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("name", sorted(ZOO))
def test_real_checkpoints_from_the_file_alone(name):
    entry = ZOO[name]
    posterior = random_posterior({k: tuple(s) for k, s in entry["shapes"].items()}, rng())
    found = discover(posterior, activation="relu", generator=rng())
    assert found.failures == ()
    if name == "handmade-logvar-resmlp":
        assert any("skip connections" in note for note in found.notes)
    else:
        assert found.spec.log_order == pytest.approx(entry["log_group_order"], abs=1e-9)
        known = ("stand-in", "skip connections", "channels first")
        assert all(any(word in note for word in known) for note in found.notes)
    last = list(entry["shapes"])[-1]
    assert [tensor for tensor, _, _ in found.uncovered] == [last]


def test_residual_net_with_the_users_module(factories):
    posterior, inputs, expected = residual_posterior()
    found = discover(posterior, activation="tanh", model=f"{factories}:residual", generator=rng())
    assert found.activation == "tanh"
    flips = 20 * math.log(2)
    assert found.spec.log_order - flips == pytest.approx(RESIDUAL_ORDER, abs=1e-9)
    assert {g.name: g.width for g in found.spec} == {"fc_in": 12, "block1_fc1": 8}
    assert (found.failures, found.notes) == ((), ())
    outputs = found.forward({k: torch.from_numpy(v) for k, v in posterior.loc.items()}, inputs)
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=1e-5, atol=1e-6)
    draws = {k: torch.from_numpy(v) for k, v in posterior.sample(rng(), 3).items()}
    assert found.forward(draws, inputs).shape == (3, 5, 1)


def test_residual_net_with_a_spec_file(factories, tmp_path):
    posterior, _, _ = residual_posterior()
    traced = discover(posterior, model=f"{factories}:residual", generator=rng()).spec
    path = tmp_path / "spec.toml"
    write_spec(traced, path)
    found = discover(posterior, spec_file=path, generator=rng())
    assert found.spec.groups == traced.groups
    assert found.forward is None  # the file's chain is not what the spec describes
    both = discover(posterior, spec_file=path, model=f"{factories}:residual", generator=rng())
    stated = discover(posterior, spec_file=path, generator=rng())
    assert "--model" in both.activation
    assert "--spec" in stated.activation
    assert both.spec.groups == traced.groups
    assert both.forward is not None


def test_a_wrong_spec_file_is_caught_by_the_users_module(factories, tmp_path):
    posterior, _, _ = residual_posterior()
    chain = discover(posterior, activation="tanh", generator=rng()).spec
    path = tmp_path / "spec.toml"
    write_spec(chain, path)
    found = discover(posterior, spec_file=path, model=f"{factories}:residual", generator=rng())
    assert [group.name for group in found.spec] == ["block1_fc1"]
    assert {failure.group for failure in found.failures} == {"fc_in", "block1_fc2"}
    assert {tensor for tensor, _, _ in found.uncovered} == {
        "fc_in.weight",
        "fc_in.bias",
        "block1_fc2.bias",
    } | {
        "fc_out.weight",
        "fc_out.bias",
    }


def test_equal_tokens_in_the_example_do_not_hide_a_wrong_spec(factories, tmp_path):
    """Attention over equal tokens is the same whatever queries and keys are: the probe must vary them."""
    import architectures

    module = architectures.TokenAttention()
    posterior = posterior_of_module(module, rng())
    path = tmp_path / "spec.toml"
    write_spec(PermutationSpec((Group("q", 4, (Member("query.weight", 0),)),)), path)
    found = discover(posterior, spec_file=path, model=f"{factories}:tokens", generator=rng())
    assert len(found.spec) == 0
    assert found.failures


def test_a_spec_file_for_tensors_that_form_no_chain_is_not_checked_and_says_so(tmp_path):
    shapes = {"a.weight": (5, 3), "b.weight": (5, 4), "c.weight": (2, 5)}
    posterior = random_posterior(shapes, rng())
    with pytest.raises(UnsupportedError) as caught:
        discover(posterior, generator=rng())
    assert caught.value.code == "broken-chain"
    spec = PermutationSpec(
        (Group("both", 5, (Member("a.weight", 0), Member("b.weight", 0), Member("c.weight", 1))),)
    )
    path = tmp_path / "spec.toml"
    write_spec(spec, path)
    found = discover(posterior, spec_file=path, generator=rng())
    assert (found.spec.groups, found.network, found.forward) == (spec.groups, None, None)
    assert any("not checked" in note for note in found.notes)


def test_spec_file_equal_to_the_chain_keeps_its_forward_and_flips_without_a_known_activation(
    tmp_path,
):
    posterior = random_posterior(mlp_shapes(3, 5, 2), rng())
    found = discover(posterior, activation="tanh", generator=rng())
    path = tmp_path / "spec.toml"
    write_spec(found.spec, path)
    again = discover(posterior, activation="tanh", spec_file=path, generator=rng())
    assert again.spec.groups == found.spec.groups
    assert again.forward is not None
    unknown = discover(posterior, spec_file=path, generator=rng())
    assert [group.signed for group in unknown.spec] == [True]
    refuted = discover(posterior, activation="relu", spec_file=path, generator=rng())
    assert [group.signed for group in refuted.spec] == [False]
    assert [failure.group for failure in refuted.failures] == ["fc1 (sign flips)"]


def test_resnet_with_running_statistics(factories):
    posterior = posterior_of_module(SmallResNet(), rng())
    with pytest.raises(UnsupportedError):
        discover(posterior, generator=rng())
    found = discover(posterior, model=f"{factories}:resnet", generator=rng())
    assert found.failures == ()
    assert found.spec.log_order == pytest.approx(3 * math.lgamma(9) + 3 * math.lgamma(13), abs=1e-9)
    assert "layer1.0.bn1.running_var" in {m.tensor for g in found.spec for m in g.members}
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    arrays = {**posterior.loc, **posterior.buffers}
    outputs = found.forward({k: torch.from_numpy(v) for k, v in arrays.items()}, images)
    np.testing.assert_allclose(
        outputs.numpy(), outputs_of(SmallResNet(), arrays, images), rtol=1e-9
    )


def test_names_with_a_prefix_keep_the_files_names(factories):
    posterior, _, _ = residual_posterior()
    prefixed = Posterior(
        {f"net.{k}": v for k, v in posterior.loc.items()},
        {f"net.{k}": v for k, v in posterior.scale.items()},
    )
    found = discover(prefixed, model=f"{factories}:residual", generator=rng())
    assert {m.tensor.split(".")[0] for g in found.spec for m in g.members} == {"net"}
    assert [group.width for group in found.spec] == [12, 8]


def test_linear_models_have_nothing_to_verify():
    found = discover(random_posterior(mlp_shapes(3, 2), rng()), activation="relu", generator=rng())
    assert (len(found.spec), found.failures, len(found.uncovered)) == (0, (), 2)
    assert found.forward is not None


def test_unknown_activation_leaves_forward_open():
    found = discover(random_posterior(mlp_shapes(3, 4, 2), rng()), generator=rng())
    assert found.forward is None
    assert [group.signed for group in found.spec] == [False]
    assert "activation unknown: sign flips were not considered" in found.notes


def test_bad_options_are_refused(tmp_path):
    posterior = random_posterior(mlp_shapes(3, 4, 2), rng())
    with pytest.raises(UsageError):
        discover(posterior, activation="nonsense", generator=rng())
    with pytest.raises(UsageError):
        discover(posterior, spec_file=tmp_path / "missing.toml", generator=rng())
    with pytest.raises(UsageError):
        discover(posterior, model="nonsense", generator=rng())


def with_prior(posterior, loc=0.0, scale=1.0, **changed):
    locs = {name: np.asarray(loc) for name in posterior.loc}
    scales = {name: np.asarray(scale) for name in posterior.loc}
    for key, value in changed.items():
        kind, tensor = key.split("__")
        {"loc": locs, "scale": scales}[kind][f"fc1.{tensor}"] = value
    return posterior.replace(prior=GaussianPrior(locs, scales))


@pytest.mark.parametrize(
    ("changed", "violated"),
    [
        ({}, []),
        ({"loc__weight": np.full((4, 3), 0.5)}, []),
        ({"scale__weight": np.array([[1.0, 2.0, 3.0]])}, []),  # differs by input, not by unit
        ({"scale__weight": np.array([[1.0], [2.0], [1.0], [1.0]])}, ["fc1.weight"]),
        ({"loc__bias": np.array([0.0, 0.0, 0.0, 1e-3])}, ["fc1.bias"]),
        (
            {"loc__bias": np.full(4, 0.1) + np.array([0, 1e-9, 0, 0])},
            [],
        ),  # one number in single precision
    ],
)
def test_stored_priors_are_checked_for_invariance(changed, violated):
    posterior = with_prior(random_posterior(mlp_shapes(3, 4, 2), rng()), **changed)
    found = discover(posterior, activation="relu", generator=rng())
    assert [tensor for tensor, _ in found.prior_violations] == violated
    assert [note.split(":")[0] for note in found.notes] == ["prior-not-invariant"] * len(violated)


def test_sign_flips_need_a_prior_centred_at_zero():
    posterior = with_prior(
        random_posterior(mlp_shapes(3, 4, 2), rng()), loc__weight=np.full((4, 3), 0.5)
    )
    assert discover(posterior, activation="relu", generator=rng()).prior_violations == ()
    assert discover(posterior, activation="tanh", generator=rng()).prior_violations == (
        ("fc1.weight", "fc1"),
    )


def test_recurrent_priors_may_treat_the_diagonal_apart():
    spec = PermutationSpec((Group("h", 4, (Member("r", 0), Member("r", 1))),))
    loc = {"r": np.zeros((4, 4))}
    for scale, violated in ((np.eye(4) + 1.0, False), (np.arange(16.0).reshape(4, 4) + 1.0, True)):
        posterior = Posterior(loc, loc, prior=GaussianPrior(loc, {"r": scale}))
        assert bool(prior_violations(spec, posterior)) is violated


def test_module_trace_names_why_tensors_stay_fixed(factories):
    posterior, _, _ = residual_posterior()
    found = discover(posterior, model=f"{factories}:residual", generator=rng())
    assert found.uncovered == (("fc_out.bias", 1, "fc_out: output units"),)


def test_same_generator_same_answer():
    posterior = random_posterior(mlp_shapes(3, 4, 2), rng())
    first, second = (discover(posterior, activation="relu", generator=rng()) for _ in range(2))
    assert dataclasses.replace(first, forward=None) == dataclasses.replace(second, forward=None)


def test_residual_module_is_the_recorded_one():
    posterior, inputs, expected = residual_posterior()
    outputs = outputs_of(ResidualMLP(), posterior.loc, inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_token_models_are_verified_on_differing_tokens(factories):
    posterior = posterior_of_module(AttentionBlock(), rng())
    found = discover(posterior, model=f"{factories}:attention", generator=rng())
    assert found.failures == ()
    assert [(group.name, group.width) for group in found.spec] == [
        ("emb", 8),
        ("attn.heads", 4),
        ("fc1", 6),
    ]
    with pytest.raises(UnsupportedError) as caught:
        discover(posterior, generator=rng())
    assert caught.value.code == "undetermined-architecture"


def test_tied_tensors_are_no_chain():
    """Tied embeddings tie the groups at both ends: without the module, a chain would claim too much."""
    shapes = mlp_shapes(6, 4, 6)
    source = Source(
        "net.pt", "", "torch-zip", "handwritten", "exp", tied=(("0.weight", "9.weight"),)
    )
    posterior = random_posterior(shapes, rng()).replace(source=source)
    with pytest.raises(UnsupportedError, match=r"0\.weight, 9\.weight are one tensor") as caught:
        discover(posterior, generator=rng())
    assert caught.value.code == "undetermined-architecture"


def test_a_tensor_tied_by_the_module_alone_counts_once(tmp_path, monkeypatch):
    """Stored twice, it moves twice, but it is one weight: H is that of the file that holds it once."""
    (tmp_path / "tied_net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.emb, self.out = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)\n"
        "        self.out.weight = self.emb.weight\n\n"
        "    def forward(self, x):\n        return self.out(self.emb(x))\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    once = random_posterior({"emb.weight": (5, 3)}, rng())
    twice = Posterior(
        *(
            {"emb.weight": x["emb.weight"], "out.weight": x["emb.weight"]}
            for x in (once.loc, once.scale)
        )
    )
    found = discover(twice, model="tied_net:Net", generator=rng())
    assert found.repeated == ("out.weight",)
    assert found.spec.groups[0].tensors == ("emb.weight", "out.weight")
    reports = [
        analyze(p, model="tied_net:Net", samples=600).total.straddling_entropy
        for p in (once, twice)
    ]
    assert min(r.value for r in reports) > 0.05
    gap = 3.0 * math.hypot(*(r.std_error for r in reports))
    assert abs(reports[0].value - reports[1].value) < gap


def test_a_group_that_only_a_second_output_contradicts_is_dropped(tmp_path, monkeypatch):
    """Spec files may overlook a head; each output of the module counts in the check."""
    (tmp_path / "two_headed_net.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc, self.mean, self.spread = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(5, 1)\n"
        "    def forward(self, x):\n"
        "        return {'mean': self.mean(torch.relu(self.fc(x))), 'spread': self.spread(torch.relu(self.fc(x)))}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    shapes = {"fc.weight": (5, 3), "fc.bias": (5,), "mean.weight": (2, 5), "mean.bias": (2,)}
    shapes |= {"spread.weight": (1, 5), "spread.bias": (1,)}
    posterior = random_posterior(shapes, rng())
    members = (Member("fc.weight", 0), Member("fc.bias", 0), Member("mean.weight", 1))
    write_spec(PermutationSpec((Group("fc", 5, members),)), tmp_path / "spec.toml")
    model = "two_headed_net:Net"
    wrong = discover(posterior, model=model, spec_file=tmp_path / "spec.toml", generator=rng())
    assert [failure.group for failure in wrong.failures] == ["fc"]
    traced = discover(posterior, model=model, generator=rng())
    assert [group.members for group in traced.spec] == [(*members, Member("spread.weight", 1))]


def test_a_spec_file_that_contradicts_the_chain_is_told_what_it_was_checked_on(tmp_path):
    """Two heads on one trunk, of the shapes of a chain: the right group fails there; a note says so."""
    posterior = random_posterior(
        {"trunk.weight": (5, 3), "mean.weight": (5, 5), "spread.weight": (5, 5)}, rng()
    )
    members = (Member("trunk.weight", 0), Member("mean.weight", 1), Member("spread.weight", 1))
    write_spec(PermutationSpec((Group("trunk", 5, members),)), tmp_path / "spec.toml")
    found = discover(posterior, spec_file=tmp_path / "spec.toml", generator=rng())
    assert [failure.group for failure in found.failures] == ["trunk"]
    assert any("plain chain" in note and "--model" in note for note in found.notes)
