"""Decoding the labels of wide nets, and the upper bound on the joint entropy that follows from it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from brute_force import mlp

from symdiag.estimators import estimate_straddling
from symdiag.estimators.decoding import Decoder, decoded_values
from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.estimators.joint import GroupSum
from symdiag.permanents import DEFAULT
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def made(posterior, spec):
    estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
    return estimator, Decoder(spec, estimator.loc, estimator.scale)


def bounded(posterior, spec, draws, seed):
    """(decoded bound, Σ_l of the groups' own values), (S,) each."""
    estimator, decoder = made(posterior, spec)
    rng = np.random.default_rng(seed)
    tensors = estimator.tensors(draws)
    groups = estimator.evaluate(tensors, rng, certify=True).groups

    def values(group, draws, names):
        return estimator.one_group(group, draws, rng, True, names)

    found = decoded_values(spec, decoder(tensors, rng), groups, tensors, values)
    return found.expectation.upper, np.sum([v.value for v in groups.values()], axis=0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sizes", [(1, 48, 48, 1), (2, 30, 20, 24, 1)])
def test_labels_of_separated_nets_are_found_whatever_they_were(sizes, signed):
    posterior, spec = mlp(sizes, seed=2, std=0.3, signed=signed)
    estimator, decoder = made(posterior, spec)
    rng = np.random.default_rng(3)
    draw = {n: v[0] for n, v in posterior.sample(rng, 1).items()}
    hidden = random_action(spec, rng)
    moved = estimator.tensors({n: v[None] for n, v in act(spec, hidden, draw).items()})
    for name, element in decoder(moved, rng).elements.items():
        assert (element.permutation[0] == hidden[name].inverse().permutation).all()
        assert (element.signs[0] == hidden[name].inverse().signs).all()


def test_channels_and_the_columns_they_own_are_found_together():
    rng = np.random.default_rng(5)
    shapes = {"c.weight": (12, 2, 3), "c.bias": (12,), "f.weight": (16, 48), "o.weight": (1, 16)}
    loc = {n: rng.normal(size=s) for n, s in shapes.items()}
    posterior = Posterior(loc, {n: np.full(s, 0.3) for n, s in shapes.items()})
    spec = PermutationSpec(
        (
            Group(
                "c", 12, (Member("c.weight", 0), Member("c.bias", 0), Member("f.weight", 1, 1, 4))
            ),
            Group("f", 16, (Member("f.weight", 0), Member("o.weight", 1))),
        )
    )
    upper, own = bounded(posterior, spec, posterior.sample(rng, 4), 6)
    assert upper == pytest.approx(own, abs=1e-3)


@pytest.mark.parametrize(
    ("sizes", "signed", "std"),
    [
        *itertools.product([(2, 4, 4, 1)], [False], [0.4, 1.0, 2.0]),
        *itertools.product([(2, 3, 3, 1)], [True], [0.5, 1.5]),
        *itertools.product([(1, 3, 3, 3, 1)], [False], [0.5, 1.5]),
    ],
)
def test_bound_is_never_below_the_joint_sum_on_average(sizes, signed, std):
    posterior, spec = mlp(sizes, seed=5, std=std, signed=signed)
    draws = posterior.sample(np.random.default_rng(7), 40)
    estimator, _ = made(posterior, spec)
    joint = GroupSum(posterior, spec, estimator.loc, estimator.scale)
    tensors = estimator.tensors(draws)
    exact = np.array([joint.exact({n: v[s] for n, v in tensors.items()}) for s in range(40)])
    upper, _ = bounded(posterior, spec, draws, 8)
    gap = upper - exact
    assert gap.mean() >= -3.0 * gap.std(ddof=1) / math.sqrt(len(gap)) - 1e-9
    assert np.isfinite(upper).all()


def test_units_alike_in_one_layer_do_not_spoil_the_other():
    # half of the first layer is one unit copied: its labels cannot be found, and cost no more than they hold
    posterior, spec = mlp((1, 40, 40, 1), seed=11, std=0.2)
    loc = {n: v.copy() for n, v in posterior.loc.items()}
    scale = {n: v.copy() for n, v in posterior.scale.items()}
    for arrays in (loc, scale):
        for member in spec.groups[0].members:
            units = np.moveaxis(arrays[member.tensor], member.axis, 0)
            units[:20] = units[:1]
    same = Posterior(loc, scale)
    upper, own = bounded(same, spec, same.sample(np.random.default_rng(12), 3), 13)
    assert own == pytest.approx(math.lgamma(21), abs=1e-3)
    assert upper == pytest.approx(own, abs=0.3)


@pytest.mark.parametrize("sizes", [(1, 40, 40, 1), (1, 70, 70, 1), (1, 40, 40, 40, 1)])
@pytest.mark.parametrize("std", [0.2, 0.5])
def test_total_is_decided_where_every_layer_is(sizes, std):
    result = estimate_straddling(*mlp(sizes, seed=1, std=std), samples=6, seed=0)
    layers = sum(g.entropy.upper for g in result.groups)
    assert layers <= 0.01
    assert result.total.upper - result.total.lower <= 0.1
