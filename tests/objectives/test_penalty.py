"""The penalty on hand-written modules: value, gradients into the module's own parameters, refusals."""

import copy
import importlib
import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import symdiag
from symdiag.errors import SymdiagError, UnsupportedError, UsageError
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.module_tensors import read_module, torch_transform
from symdiag.objectives.penalty import StraddlingPenalty
from symdiag.objectives.variational import Variational
from symdiag.training.config import TrainingConfig

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


def gradients(model, loss):
    """Of one call, by parameter."""
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


class Holder(nn.Module):
    """A module that keeps its own penalty, as Lightning modules do."""

    def __init__(self, width):
        super().__init__()
        self.net = make_model(width)
        self.penalty = StraddlingPenalty(self.net, activation="relu")


@pytest.mark.parametrize("width", [5, 12], ids=["exact", "sampled"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_alike_and_on_its_own_parameters(copied, width):
    held = Holder(width)
    held.penalty()
    other = copied(held)
    expected = gradients(held, held.penalty())
    found = gradients(other, other.penalty())
    assert found.keys() == expected.keys()
    assert float(found["net.fc1.weight_mu"].abs().max()) > 0.0
    assert all(torch.equal(found[n], expected[n]) for n in found)
    with torch.no_grad():  # far apart, the copy's units do not straddle; the original's still do
        for layer in (other.net.fc1, other.net.fc2):
            layer.weight_log_sigma -= 12.0
            layer.bias_log_sigma -= 12.0
    fresh = [StraddlingPenalty(m, activation="relu")().item() for m in (other.net, held.net)]
    assert fresh[0] < 0.05 < fresh[1]
    if width == 5:
        assert other.penalty().item() < 0.05 < held.penalty().item()


def test_own_draws_give_the_total_derivative():
    """What is folded into means and stds is what autograd finds through the draws themselves."""
    model = make_model(4).double()
    penalty = StraddlingPenalty(model, activation="relu", draws=3, seed=5)
    _, tensors = read_module(model)
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal((3, 17)))
    parts = dict(
        zip(penalty.names, noise.split([t.loc.numel() for t in tensors], dim=1), strict=True)
    )
    own = gradients(model, penalty())
    draws = {t.name: t.loc + t.scale() * parts[t.name].reshape(3, *t.loc.shape) for t in tensors}
    through = gradients(model, penalty(draws))
    assert max(float(g.abs().max()) for g in own.values()) > 1e-3
    for name, gradient in own.items():
        torch.testing.assert_close(gradient, through[name], rtol=1e-10, atol=1e-12)


def test_every_third_call_works_out_a_gradient_and_the_others_repeat_it():
    model = make_model(12)
    penalty = StraddlingPenalty(model, activation="relu", every=3)
    found = [gradients(model, penalty())["fc1.weight_mu"] for _ in range(4)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])
    # the gradient by the std is repeated, not that by whatever it is stored as
    first = gradients(model, penalty())["fc1.weight_log_sigma"]
    with torch.no_grad():
        model.fc1.weight_log_sigma += 1.0
    later = gradients(model, penalty())["fc1.weight_log_sigma"]
    torch.testing.assert_close(later, first * np.e, rtol=1e-5, atol=1e-7)
    given = {t.name: t.loc + 0.1 for t in read_module(model)[1]}
    assert penalty(given).requires_grad


def test_wide_values_are_near_the_exact_ones_and_never_negative():
    model = make_model(12)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("log_sigma"):
                parameter -= 1.5
    exact, auto = (
        StraddlingPenalty(model, activation="relu", marginals=m, draws=64)().item()
        for m in ("exact", "auto")
    )
    assert 0.0 <= auto == pytest.approx(exact, abs=0.1)


def test_the_schedule_is_that_of_retraining():
    model, steps = make_model(), 60
    penalty = StraddlingPenalty(model, activation="relu")
    config = TrainingConfig(steps=steps).resolved(10, 100)
    found = [penalty.schedule(step, steps) for step in range(steps)]
    assert found == [config.straddling_weight(step) for step in range(steps)]
    assert found[0] > 1.0 == found[-1]
    assert penalty.schedule(0, steps, start=1.0) == 1.0


@pytest.mark.parametrize("option", ["draws", "every", "value_every"])
def test_counts_below_one_are_refused(option):
    with pytest.raises(UsageError, match=option) as caught:
        StraddlingPenalty(make_model(), activation="relu", **{option: 0})
    assert caught.value.code == "bad-option"
    StraddlingPenalty(make_model(), activation="relu", **{option: 1})


def test_refusals():
    with pytest.raises(SymdiagError):
        StraddlingPenalty(nn.Linear(2, 2))
    with pytest.raises(UnsupportedError, match="cannot be trained through"):
        torch_transform("1/sqrt(h)")
    penalty = StraddlingPenalty(make_model(), activation="relu")
    with pytest.raises(UsageError, match="no draws given") as caught:
        penalty({})
    assert caught.value.code == "usage"
    assert all(name in caught.value.hint for name in penalty.names)


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
