"""A pickled nn.Sequential is rebuilt as the function it is; anything else stays unknown."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import symdiag.formats as formats
from symdiag.formats.pickled_module import PickledModule, pickled_modules
from symdiag.network import infer_network, pickled_network
from symdiag.network.module import user_model
from symdiag.network.pickled import _rebuilt, hinted_activation, rebuilt
from symdiag.symmetry.discovery import discover


class MuRho(nn.Module):
    """A hand-written layer, (out, in) unless told otherwise."""

    def __init__(self, inputs, outputs, *, flipped=False):
        super().__init__()
        shape = (inputs, outputs) if flipped else (outputs, inputs)
        self.weight_mu = nn.Parameter(torch.randn(shape))
        self.weight_log_sigma = nn.Parameter(torch.full(shape, -4.0))
        self.bias_mu = nn.Parameter(torch.randn(outputs))
        self.bias_log_sigma = nn.Parameter(torch.full((outputs,), -4.0))


class Own(nn.Module):
    """A class whose forward the file does not hold."""

    def __init__(self, activation):
        super().__init__()
        self.fc1 = MuRho(3, 5)
        self.act = activation
        self.fc2 = MuRho(5, 2)


def loaded(module, tmp_path, **extra):
    torch.save({"model": module, **extra} if extra else module, tmp_path / "m.pt")
    return formats.load(tmp_path / "m.pt")


def found(module, tmp_path, **options):
    posterior = loaded(module, tmp_path)
    return posterior, discover(posterior, generator=np.random.default_rng(0), **options)


def described(module, tmp_path):
    torch.save(module, tmp_path / "m.pt")
    return formats.reading.read_raw(tmp_path / "m.pt").modules[""]


CHAINS = {
    "mlp": (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2, bias=False)), (7, 3)),
    "nested": (
        nn.Sequential(
            OrderedDict(
                body=nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.3)),
                norm=nn.LayerNorm(4, eps=1e-3),
                head=nn.Sequential(nn.Linear(4, 2), nn.Softmax(dim=1)),
            )
        ),
        (7, 3),
    ),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, padding="same", groups=2), nn.GELU(approximate="tanh"), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(4 * 3 * 3, 5), nn.Softplus(beta=2.0), nn.Linear(5, 2),
        ),
        (7, 1, 28, 28),
    ),
    "pooled": (
        nn.Sequential(nn.Conv1d(2, 3, 5), nn.ELU(0.5), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(6, 1)),
        (7, 2, 20),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_rebuilt_network_computes_what_the_pickled_one_does(name, tmp_path):
    module, shape = CHAINS[name]
    module.eval()
    whole = _rebuilt(described(module, tmp_path))
    whole.module.load_state_dict(module.state_dict())
    inputs = torch.randn(shape)
    assert torch.equal(whole.module(inputs), module(inputs.clone()))
    assert whole.example_input.shape[1:2] == inputs.shape[1:2]
    assert whole.module(whole.example_input).shape[1:] == module(inputs).shape[1:]


def _twice():
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), layer)


class Renamed(nn.Sequential):
    """A Sequential of one's own: its forward may be another."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: Own(nn.Tanh()),
        lambda: Renamed(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        _twice,
        lambda: nn.Sequential(nn.Linear(3, 4), Own(nn.ReLU())),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding_mode="circular"), nn.Flatten(), nn.Linear(8, 1)),
        lambda: nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 2)]),
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2)),
    ],
    ids=["own class", "own Sequential", "layer twice", "own within", "other padding", "list", "does not fit"],
)  # fmt: skip
def test_what_the_tree_does_not_determine_is_not_rebuilt(make, tmp_path):
    assert _rebuilt(described(make(), tmp_path)) is None


def test_settings_that_would_exhaust_memory_are_not_followed():
    def layer(name, parameters, **attributes):
        return PickledModule(f"torch.nn.modules.{name}", attributes, parameters)

    small = {"weight": (4, 3), "bias": (4,)}
    first = layer("linear.Linear", small, in_features=3, out_features=4)
    for bad in (
        layer("linear.Linear", small, in_features=1 << 40, out_features=1 << 40),
        layer("pooling.AdaptiveAvgPool1d", {}, output_size=1 << 25),
        layer("pooling.AdaptiveAvgPool1d", {}, output_size=[["x"]]),
        layer("normalization.LayerNorm", {}, normalized_shape=(1 << 26,)),
    ):
        sequence = PickledModule(
            "torch.nn.modules.container.Sequential", children={"0": first, "1": bad}
        )
        assert _rebuilt(sequence) is None


def test_sequential_needs_no_option(tmp_path):
    net = nn.Sequential(MuRho(3, 5), nn.Tanh(), MuRho(5, 4, flipped=True), nn.Tanh(), MuRho(4, 2))
    posterior, symmetry = found(net, tmp_path)
    assert symmetry.provenance.source == "pickled-module"
    assert symmetry.provenance.is_settled
    assert "MuRho" in symmetry.provenance.function  # its forward is not in the file
    assert symmetry.activation == "tanh"
    assert [(g.width, g.signed) for g in symmetry.spec] == [(5, True), (4, True)]
    assert not symmetry.failures
    inputs = torch.randn(6, 3, dtype=torch.float64)
    weights = {name: torch.from_numpy(value) for name, value in posterior.loc.items()}
    expected = inputs
    for index in (0, 2, 4):
        matrix, bias = net[index].weight_mu.double(), net[index].bias_mu.double()
        expected = expected @ (matrix if index == 2 else matrix.T) + bias
        expected = expected.tanh() if index < 4 else expected
    torch.testing.assert_close(symmetry.forward(weights, inputs), expected)


def test_same_widths_that_leave_a_chain_assumed_are_settled_by_the_module(tmp_path):
    net = nn.Sequential(
        OrderedDict(a=MuRho(4, 4), r=nn.ReLU(), b=MuRho(4, 4), s=nn.ReLU(), c=MuRho(4, 4))
    )
    posterior, symmetry = found(net, tmp_path)
    assert symmetry.provenance.source == "pickled-module"
    torch.save(net.state_dict(), tmp_path / "s.pt")
    state = formats.load(tmp_path / "s.pt")
    assert discover(state, generator=np.random.default_rng(0)).provenance.source == "assumed"
    assert state.names == posterior.names
    # `symdiag inspect`, which imports no torch, says the same
    assert pickled_network(posterior) == symmetry.provenance.why
    assert not pickled_network(state)
    assert not any("--model" in note for note in infer_network(posterior).notes)


def test_own_class_gives_hints_only(tmp_path):
    posterior, symmetry = found(Own(nn.ReLU()), tmp_path)
    assert symmetry.provenance.source == "determined"  # by its widths
    assert "forward is not in the file" in symmetry.provenance.function
    assert symmetry.activation == "relu"
    assert hinted_activation(posterior) == ("relu", f"{__name__}.Own")
    network = infer_network(loaded(Own(nn.Tanh()), tmp_path))
    assert network.activation is None  # an odd one would add sign flips on a hint's word
    assert any("--activation tanh" in note for note in network.notes)


def test_module_beside_other_things(tmp_path):
    net = nn.Sequential(MuRho(3, 5), nn.ReLU(), MuRho(5, 2))
    posterior = loaded(net, tmp_path, epoch=3)
    assert list(pickled_modules(posterior)) == ["model"]
    assert rebuilt(posterior).activation == "relu"
    whole = rebuilt(posterior)
    model = user_model(lambda: (whole.module, whole.example_input), posterior)
    assert set(model.names.values()) == set(posterior.names)


ODD = [
    None, True, 0, -1, 1, 3, 1 << 70, 1.5, float("nan"), "same", "tanh", "", (), (1, 1), (0, 0), [2], (1 << 40,) * 2,
    {"__class__": "builtins.list"}, b"x", [[1]], ("a",), 1 + 2j,
]  # fmt: skip


def changed(tree, rng):
    """The tree with one setting, class, name or shape replaced by something no library writes."""
    attributes, children = dict(tree.attributes), dict(tree.children)
    parameters, class_name = dict(tree.parameters), tree.class_name
    odd = ODD[rng.integers(len(ODD))]
    kind = rng.integers(5)
    if children and (kind or not attributes):
        name = sorted(children)[rng.integers(len(children))]
        if kind == 1:
            children[("", "a.b", "forward", "_modules", "0")[rng.integers(5)]] = children.pop(name)
        elif kind == 2:
            children[name] = PickledModule(f"torch.nn.modules.x.{rng.choice(CLASSES)}", attributes)
        else:
            children[name] = changed(children[name], rng)
    elif attributes and kind < 4:
        attributes[sorted(attributes)[rng.integers(len(attributes))]] = odd
    elif parameters:
        shape = odd if isinstance(odd, tuple) and all(isinstance(n, int) for n in odd) else (3, 3)
        parameters[sorted(parameters)[0]] = shape
    return PickledModule(class_name, attributes, parameters, tree.buffers, children)


CLASSES = [
    "Linear",
    "Conv2d",
    "LSTM",
    "Module",
    "Softmax",
    "MaxPool1d",
    "Flatten",
    "BatchNorm1d",
    "GELU",
    "GroupNorm",
]


def test_damaged_trees_are_rebuilt_or_not(tmp_path):
    trees = [described(module, tmp_path) for module, _ in CHAINS.values()]
    trees.append(described(nn.Sequential(MuRho(3, 5), nn.Tanh(), MuRho(5, 2)), tmp_path))
    rng = np.random.default_rng(0)
    outcomes = []
    for i in range(160):
        tree = changed(trees[i % len(trees)], rng)
        whole = _rebuilt(tree)
        outcomes.append(whole is None)
        if whole is not None:
            assert whole.module(whole.example_input).numel() < 1 << 24
    assert 20 < sum(outcomes) < 140
