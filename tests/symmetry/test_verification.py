import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import ResidualMLP, outputs_of, posterior_of_module
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))

from network_examples import mlp_shapes, random_posterior

from symdiag.network import infer_network
from symdiag.posterior import Posterior
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.probing import chain_probe
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.symmetry.verification import TOLERANCE, verify


def mlp(activation="tanh", widths=(3, 5, 4, 2)):
    posterior = random_posterior(mlp_shapes(*widths), np.random.default_rng(0))
    network = infer_network(posterior, activation=activation)
    return posterior, infer_spec(posterior, network), chain_probe(network, np.random.default_rng(1))


WRONG = {
    "no outgoing weights": (Member("fc1.weight", 0), Member("fc1.bias", 0)),
    "no bias": (Member("fc1.weight", 0), Member("fc2.weight", 1)),
    "inputs instead of units": (
        Member("fc1.weight", 1),
        Member("fc1.bias", 0),
        Member("fc2.weight", 1),
    ),
    "gates that are not there": (
        Member("fc1.weight", 0),
        Member("fc1.bias", 0),
        Member("fc2.weight", 1, inner=2),
    ),
    "an axis that is not there": (
        Member("fc1.weight", 0),
        Member("fc1.bias", 1),
        Member("fc2.weight", 1),
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_groups_are_dropped_and_right_ones_kept(case):
    posterior, spec, probe = mlp()
    wrong = Group("fc1", 5, WRONG[case], signed=True)
    checked = verify(
        PermutationSpec((wrong, spec.groups[1])), posterior, probe, np.random.default_rng(2)
    )
    assert checked.kept.groups == (spec.groups[1],)
    (failure,) = checked.failures
    assert failure.group == "fc1"
    assert failure.error > 1e4 * failure.tolerance == 1e4 * TOLERANCE
    assert "fc1" in failure.message


def test_flips_that_do_not_hold_leave_the_permutations():
    posterior, spec, probe = mlp("relu")
    claimed = PermutationSpec(tuple(dataclasses.replace(group, signed=True) for group in spec))
    checked = verify(claimed, posterior, probe, np.random.default_rng(3))
    assert checked.kept.groups == spec.groups
    assert [failure.group for failure in checked.failures] == [
        "fc1 (sign flips)",
        "fc2 (sign flips)",
    ]


def test_a_flip_needs_every_sign():
    posterior, spec, probe = mlp("tanh")
    members = tuple(
        dataclasses.replace(m, flips=m.tensor != "fc1.bias") for m in spec.groups[0].members
    )
    broken = PermutationSpec((dataclasses.replace(spec.groups[0], members=members),))
    checked = verify(broken, posterior, probe, np.random.default_rng(4))
    assert [group.signed for group in checked.kept] == [False]


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_constant_weights_do_not_hide_a_wrong_group(fill):
    posterior, spec, probe = mlp()
    flat = Posterior({k: np.full_like(v, fill) for k, v in posterior.loc.items()}, posterior.scale)
    wrong = PermutationSpec((Group("fc1", 5, WRONG["no bias"]),))
    assert verify(wrong, flat, probe, np.random.default_rng(5)).kept.groups == ()
    assert verify(spec, flat, probe, np.random.default_rng(5)).failures == ()


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_extreme_scales_neither_hide_nor_invent_failures(size):
    posterior, spec, probe = mlp("relu", (3, 5, 2))
    scaled = Posterior({k: v * size for k, v in posterior.loc.items()}, posterior.scale)
    wrong = PermutationSpec((Group("fc1", 5, WRONG["no bias"]),))
    assert verify(spec, scaled, probe, np.random.default_rng(6)).failures == ()
    assert verify(wrong, scaled, probe, np.random.default_rng(6)).kept.groups == ()


def test_residual_net_read_as_a_chain_fails_on_its_true_forward():
    module = ResidualMLP().double()
    generator = np.random.default_rng(7)
    posterior = posterior_of_module(module, generator)
    chain = infer_spec(posterior, infer_network(posterior, activation="tanh"))
    assert [group.width for group in chain] == [12, 8, 12]
    inputs = torch.randn(6, 10, dtype=torch.float64)
    checked = verify(chain, posterior, lambda w, b: outputs_of(module, w, inputs), generator)
    assert [group.name for group in checked.kept] == ["block1_fc1"]
    assert {failure.group for failure in checked.failures} == {"fc_in", "block1_fc2"}


@pytest.mark.parametrize(
    ("middle", "inputs"),
    [
        (nn.GroupNorm(2, 6), torch.randn(5, 4, dtype=torch.float64)),
        (
            nn.Sequential(nn.Unflatten(1, (6, 1)), nn.Conv1d(6, 6, 1, groups=2), nn.Flatten()),
            torch.randn(5, 4).double(),
        ),
        (
            nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 2, 1), nn.Flatten()),
            torch.randn(5, 4).double(),
        ),
    ],
)
def test_units_mixed_in_fixed_sets_are_caught(middle, inputs):
    module = nn.Sequential(nn.Linear(4, 6), middle, nn.Tanh(), nn.Linear(6, 2)).double()
    generator = np.random.default_rng(8)
    posterior = posterior_of_module(module, generator)
    members = [Member("0.weight", 0), Member("0.bias", 0), Member("3.weight", 1)]
    members += [Member(f"1.{name}", 0) for name, p in middle.named_parameters() if p.shape[0] == 6]
    checked = verify(
        PermutationSpec((Group("0", 6, tuple(members)),)),
        posterior,
        lambda w, b: outputs_of(module, w, inputs),
        generator,
    )
    assert checked.kept.groups == ()


def test_outputs_that_are_not_finite_verify_nothing():
    posterior, spec, _ = mlp()
    checked = verify(spec, posterior, lambda w, b: np.array([np.nan]), np.random.default_rng(9))
    assert checked.kept.groups == ()
    assert "non-finite" in checked.failures[0].message


def test_single_units_are_verified_by_flips_alone():
    posterior, spec, probe = mlp("tanh", (3, 1, 2))
    assert verify(spec, posterior, probe, np.random.default_rng(10)).kept == spec
