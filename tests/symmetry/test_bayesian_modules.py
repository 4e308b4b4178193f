"""Bayesian modules as they are: traced without their noise, run at given weights, never changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from bayesian_modules import (
    LAYERS,
    DenseNet,
    FlattenedImage,
    Layer,
    Reparameterised,
    ResidualMLP,
    SharedLayer,
    WithDivergence,
)
from torch import nn
from torch.nn import functional as F

from symdiag.network.matching import read_posterior
from symdiag.network.module import user_model
from symdiag.symmetry.discovery import discover
from symdiag.symmetry.elements import act, random_action


def found(module, **options):
    return discover(read_posterior(module), generator=np.random.default_rng(0), **options)


def outline(symmetry):
    return {g.name: (g.width, g.signed, len(g.members)) for g in symmetry.spec}


def chain(layer):
    torch.manual_seed(1)
    return nn.Sequential(layer(3, 5), nn.Tanh(), layer(5, 4), nn.Tanh(), layer(4, 2))


@pytest.mark.parametrize("layer", LAYERS)
def test_the_groups_are_those_of_the_chain_however_a_layer_samples(layer):
    module = chain(layer)
    traced, read = found(module, model=module), found(module, activation="tanh")
    assert (traced.provenance.source, read.provenance.source) == ("module", "determined")
    assert {frozenset(g.members) for g in traced.spec} == {frozenset(g.members) for g in read.spec}
    assert outline(traced) == {"0": (5, True, 3), "2": (4, True, 3)}
    assert not traced.failures


@pytest.mark.parametrize("layer", LAYERS)
def test_outputs_at_given_weights_are_the_network_s_and_so_are_their_gradients(layer):
    module = chain(layer)
    posterior = read_posterior(module)
    rng = np.random.default_rng(2)
    draws = {n: torch.tensor(v, requires_grad=True) for n, v in posterior.sample(rng, 3).items()}
    inputs = torch.from_numpy(rng.standard_normal((7, 3)))

    def by_hand(w):
        h = inputs
        for name in "024":
            h = h @ w[f"{name}.weight"].mT + w[f"{name}.bias"].unsqueeze(-2)
            h = torch.tanh(h) if name != "4" else h
        return h

    outputs, expected = user_model(module, posterior).forward(draws, inputs), by_hand(draws)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(o.square().sum(), draws.values()) for o in (outputs, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_a_live_module_is_left_as_it_is_and_so_is_the_random_state():
    module = chain(LAYERS[1]).train()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    noise = module[0].eps.clone()
    found(module, model=module)
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert torch.equal(module[0].eps, noise)
    assert all(torch.equal(before[n], v) for n, v in module.state_dict().items())
    assert torch.get_default_dtype() == torch.float32


def test_what_is_added_or_shared_or_concatenated_is_followed():
    residual = found(ResidualMLP(), model=ResidualMLP)
    assert outline(residual) == {"inp": (12, True, 6), "b1": (8, True, 3)}
    shared = found(SharedLayer(), model=SharedLayer)
    assert outline(shared) == {"inp": (6, True, 6)}
    dense = found(DenseNet(), model=DenseNet)
    assert outline(dense) == {"first": (6, True, 4), "second": (5, True, 3)}


def test_a_divergence_returned_beside_the_outputs_holds_no_units():
    assert outline(found(WithDivergence(), model=WithDivergence)) == {"fc1": (5, True, 3)}


def test_channels_that_are_flattened_own_a_run_of_columns():
    module = FlattenedImage()
    symmetry = found(module, model=lambda: (module, torch.randn(2, 1, 8, 8)))
    assert outline(symmetry) == {"weight": (4, False, 2), "fc": (5, False, 3)}
    (member,) = (m for g in symmetry.spec for m in g.members if m.tensor == "fc.weight" and m.axis)
    assert (member.outer, member.inner) == (1, 36)


def test_a_group_element_on_means_and_rhos_leaves_the_module_s_distribution_alone():
    """Under common random numbers, moved along with the units, outputs agree to rounding."""
    torch.manual_seed(3)
    module = ResidualMLP(
        LAYERS[3]
    ).double()  # noise enters after the sums: units have noise of their own
    symmetry = found(module, model=module)
    action = random_action(symmetry.spec, np.random.default_rng(4))
    moved = copy.deepcopy(module)
    own = dict(module.named_parameters())
    with torch.no_grad():
        for kind, flip in (("mu", True), ("rho", False)):
            tensors = {n.replace(f"_{kind}", ""): p for n, p in own.items() if n.endswith(kind)}
            for name, value in act(symmetry.spec, action, tensors, flip=flip).items():
                owner, _, last = name.rpartition(".")
                getattr(moved.get_submodule(owner), f"{last}_{kind}").copy_(value)
    x = torch.randn(200, 10).double()
    outputs = [torch.stack([m(x) for _ in range(400)]) for m in (module, moved)]
    means, stds = ([o.mean(0) for o in outputs], [o.std(0) for o in outputs])
    error = (stds[0] ** 2 + stds[1] ** 2).sqrt() / 20.0
    assert ((means[0] - means[1]) / error).abs().max() < 5.0
    assert (stds[0] / stds[1] - 1.0).abs().mean() < 0.06


class Scaled(Layer):
    """A forward of its own under torch's name: what a subclass overrides must not be taken for torch's."""

    def forward(self, x):
        std, _ = self.stds()
        scale = torch.linspace(1.0, 2.0, len(self.bias_mu), dtype=x.dtype)
        return scale * F.linear(x, self.weight_mu + std * torch.randn_like(std), self.bias_mu)


def test_units_that_the_forward_tells_apart_are_not_grouped():
    module = nn.Sequential(Scaled(3, 5), nn.Tanh(), Scaled(5, 2))
    assert not len(found(module, model=module).spec)


class Heads(nn.Module):
    """One hidden layer of its own for each of two named outputs, and a divergence beside them."""

    def __init__(self, layer):
        super().__init__()
        self.shared = layer(3, 6)
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(layer(6, size), nn.ReLU(), layer(size, 1))
                for name, size in (("p(n2)", 5), ("q(o2)", 4))
            }
        )

    def forward(self, x):
        h = torch.relu(self.shared(x))
        return {**{name: head(h) for name, head in self.heads.items()}, "kl": h.sum()}


def test_every_head_counts_and_a_divergence_does_not():
    """Units of the second head are found, and checked on the second head's outputs."""
    module = Heads(Reparameterised)
    symmetry = found(module, model=module)
    widths = {g.name: g.width for g in symmetry.spec}
    assert widths == {"shared": 6, "heads.p(n2).0": 5, "heads.q(o2).0": 4}
    assert not symmetry.failures


def test_a_new_module_s_zeros_are_not_taken_for_noise():
    """Factories build modules whose biases, or whatever their code sets, are zero."""
    module = chain(Reparameterised)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    posterior = read_posterior(chain(Reparameterised))
    symmetry = discover(posterior, model=module, generator=np.random.default_rng(0))
    assert outline(symmetry) == {"0": (5, True, 3), "2": (4, True, 3)}
    assert not symmetry.failures
    assert all(not parameter.any() for parameter in module.parameters())
