"""The penalty on hand-written modules: value, gradients into the module's own parameters, refusals."""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import symdiag
from symdiag.errors import SymdiagError, UnsupportedError, UsageError
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.penalty import StraddlingPenalty, read_module, torch_transform
from symdiag.objectives.variational import Variational

EXAMPLES = Path(__file__).parents[2] / "examples"


class Layer(nn.Module):
    def __init__(self, inputs, outputs, generator):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs, generator=generator))
        self.weight_log_sigma = nn.Parameter(torch.full((outputs, inputs), -0.5))
        self.bias_mu = nn.Parameter(torch.zeros(outputs))
        self.bias_log_sigma = nn.Parameter(torch.full((outputs,), -0.5))


def make_model(width=5):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential()
    model.fc1, model.act, model.fc2 = (
        Layer(2, width, generator),
        nn.ReLU(),
        Layer(width, 1, generator),
    )
    return model


def test_value_is_that_of_the_objective_for_the_same_draws():
    model = make_model()
    penalty = StraddlingPenalty(model, activation="relu")
    posterior, tensors = read_module(model)
    assert penalty.names == posterior.names
    q = Variational.of(posterior)
    noise = torch.from_numpy(
        np.random.default_rng(1).standard_normal((6, posterior.num_parameters))
    )
    flat = q.loc + q.scale * noise
    expected = GroupTerm(penalty.spec.groups[0], q)(q.loc, q.scale, flat, np.random.default_rng(0))
    found = penalty({k: v.detach() for k, v in q.layout.split(flat).items()})
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    one = {t.name: (t.loc + t.scale() * torch.randn(t.loc.shape)).detach() for t in tensors}
    assert penalty(one).shape == ()


def test_gradients_reach_every_parameter_and_shrink_the_entropy():
    model = make_model()
    penalty = StraddlingPenalty(model, activation="relu", draws=64)
    before = penalty().item()
    penalty().backward()
    touched = {
        n
        for n, p in model.named_parameters()
        if p.grad is not None and float(p.grad.abs().max()) > 0
    }
    assert touched == {n for n, _ in model.named_parameters()} - {
        "fc2.bias_mu",
        "fc2.bias_log_sigma",
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert penalty().item() < 0.5 * before


def test_gradient_with_the_weights_own_draws_is_the_total_derivative():
    """Central differences through mean, std and reparameterised draw together."""
    model = make_model(4).double()
    penalty = StraddlingPenalty(model, activation="relu")
    _, tensors = read_module(model)
    noise = {t.name: torch.randn(t.loc.shape, dtype=torch.float64) for t in tensors}

    def value():
        return penalty({t.name: t.loc + t.scale() * noise[t.name] for t in tensors})

    value().backward()
    parameter = model.fc1.weight_log_sigma
    step = 1e-5
    for index in ((0, 0), (3, 1)):
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter[index] += sign * step
            ends.append(value().item())
            with torch.no_grad():
                parameter[index] -= sign * step
        assert parameter.grad[index].item() == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), abs=1e-6
        )


def test_weight_scales_and_exported_name():
    model = make_model()
    assert symdiag.StraddlingPenalty is StraddlingPenalty
    whole, tenth = (
        StraddlingPenalty(model, activation="relu", weight=w)().item() for w in (1.0, 0.1)
    )
    assert tenth == pytest.approx(0.1 * whole, rel=1e-5)


def test_sign_flips_count_for_odd_activations():
    model = make_model()
    plain, signed = (
        StraddlingPenalty(model, activation=a, draws=256)().item() for a in ("relu", "tanh")
    )
    assert signed > plain + 0.5


def test_refusals():
    with pytest.raises(SymdiagError):
        StraddlingPenalty(nn.Linear(2, 2))
    with pytest.raises(UnsupportedError, match="cannot be trained through"):
        torch_transform("1/sqrt(h)")
    penalty = StraddlingPenalty(make_model(), activation="relu")
    with pytest.raises(UsageError, match="no draws given"):
        penalty({})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softplus", np.log1p(np.exp(0.3))),
        ("exp", np.exp(0.3)),
        ("identity", 0.3),
        ("exp-half", np.exp(0.15)),
        ("sqrt", np.sqrt(0.3)),
        ("1e-06+softplus", 1e-6 + np.log1p(np.exp(0.3))),
        ("sigmoid(0,0.5)", 0.5 / (1 + np.exp(-0.3))),
    ],
)
def test_transforms(name, expected):
    assert torch_transform(name)(torch.tensor(0.3, dtype=torch.float64)).item() == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize(
    ("example", "library"),
    [
        ("hand_written", "torch"),
        ("bayesian_torch_penalty", "bayesian_torch"),
        ("blitz_penalty", "blitz"),
        ("torchbnn_penalty", "torchbnn"),
        ("torch_uncertainty_penalty", "torch_uncertainty"),
        ("pyro_penalty", "pyro"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_examples_run_and_the_penalty_lowers_the_entropy(example, library, monkeypatch):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sys.modules.pop("common", None)
    plain, penalised = importlib.import_module(example).main(400)
    assert penalised <= plain + 0.05
