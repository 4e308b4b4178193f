"""How bounds without draws enter the estimates, and what they decide."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from brute_force import mlp

from symdiag.errors import ContradictionError
from symdiag.estimate import Bracket, Estimate
from symdiag.estimators import estimate_straddling
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.deterministic import DECISIVE, deterministic_bounds, settled
from symdiag.formats import load
from symdiag.network import infer_network
from symdiag.permanents.exact import exact_log_permanent
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.spec import Group, Member, PermutationSpec

ZOO = Path(__file__).parents[1] / "data" / "zoo"


def sampled(value, error, *, lower, upper):
    return Estimate(value, error, lower, upper, "exact-dp", 100)


def test_a_small_bound_replaces_what_draws_have_not_seen():
    found = settled(sampled(1e-9, 1e-9, lower=0.0, upper=3e-9), 1e-4, 10.0)
    assert (found.lower, found.upper, found.interval) == (0.0, 1e-4, "deterministic")
    assert found.brackets == (
        Bracket("exact", 0.0, 3e-9),
        Bracket("deterministic", 0.0, 1e-4),
    )


def test_straddling_that_draws_have_seen_keeps_its_interval():
    found = settled(sampled(0.03, 0.002, lower=0.026, upper=0.034), 0.045, 10.0)
    assert (found.lower, found.upper, found.interval) == (0.026, 0.034, "exact")
    # the upper end is never above the bound
    found = settled(sampled(0.3, 0.2, lower=0.0, upper=0.7), 0.5, 10.0)
    assert (found.lower, found.upper, found.interval) == (0.0, 0.5, "exact")


def test_a_bound_that_says_nothing_changes_nothing():
    estimate = sampled(3.0, 0.1, lower=2.8, upper=3.2)
    assert settled(estimate, 9.9, 10.0) == estimate


def test_a_bound_below_the_value_by_more_than_its_error_is_an_internal_error():
    with pytest.raises(ContradictionError):
        settled(sampled(1.0, 0.01, lower=0.98, upper=1.02), 0.5, 10.0)
    assert settled(sampled(1.0, 0.4, lower=0.2, upper=1.8), 0.5, 10.0).upper == 0.5


def test_separated_nets_are_decided_without_draws():
    for sizes in ((4, 12, 1), (12, 30, 30, 1), (20, 24, 24, 24, 1)):
        result = estimate_straddling(*mlp(sizes, seed=1, std=0.2), samples=4, seed=0)
        every = (*(g.entropy for g in result.groups), result.total)
        assert [e.interval for e in every] == ["deterministic"] * len(every)
        assert all(e.lower == 0.0 <= e.value <= e.upper <= DECISIVE for e in every)
        assert result.total_information.interval == "deterministic"
        assert result.total_information.lower == pytest.approx(
            sum(g.group.log_order for g in result.groups) - result.total.upper
        )


def test_groups_apart_add_up_and_correlated_ones_need_every_element():
    rng = np.random.default_rng(0)
    loc = {"a": 3 * rng.normal(size=(4, 3)), "b": 3 * rng.normal(size=(5, 3))}
    posterior = Posterior(loc, {n: np.full(v.shape, 0.5) for n, v in loc.items()})
    spec = PermutationSpec((Group("a", 4, (Member("a", 0),)), Group("b", 5, (Member("b", 0),))))
    apart = deterministic_bounds(posterior, spec)
    assert apart.total == pytest.approx(sum(apart.groups.values()))
    # the same posterior, its independence written as a covariance: every element is visited
    dense = Covariance(("a", "b"), np.zeros((27, 1)), np.full(27, 0.25))
    visited = deterministic_bounds(posterior.replace(covariance=dense), spec)
    assert visited.groups == pytest.approx(apart.groups, rel=1e-6)
    assert visited.total == pytest.approx(apart.total, rel=1e-3)
    wide = PermutationSpec((Group("b", 9, (Member("b", 0),)),))
    large = Posterior({"b": np.zeros((9, 1))}, {"b": np.ones((9, 1))})
    tied = large.replace(covariance=Covariance(("b",), np.zeros((9, 1)), np.ones(9)))
    assert deterministic_bounds(tied, wide).total == pytest.approx(math.lgamma(10))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    "name",
    [
        "bayesian-torch-cnn.pth",
        "handmade-mu-rho-mlp2.pt",
        "ivon-mlp2.pt",
        "nasty-direct-std-ok.pt",
        "nasty-whole-module.pt",
        "torchbayesian-mlp2.pt",
        "well-separated.pt",
    ],
)
def test_real_posteriors_of_one_mode_have_a_small_bound(name, activation):
    """H = 0 by exact permanents of sampled weights; the bound without draws is below 0.05 nats."""
    posterior = load(ZOO / name)
    network = infer_network(posterior, activation=activation)
    spec = infer_spec(posterior, network).restricted(posterior.loc)
    bounds = deterministic_bounds(posterior, spec)
    tensors = [
        {n: torch.from_numpy(v) for n, v in part.items()}
        for part in (posterior.loc, posterior.scale)
    ]
    draws = posterior.sample(np.random.default_rng(0), 16)
    total = 0.0
    for group in spec:
        matrices = SlotDensity(group, *tensors)(
            {n: torch.from_numpy(v) for n, v in draws.items()}
        ).numpy()
        sums = exact_log_permanent(matrices)
        assert sums.max() < 0.05  # each draw is far likelier as it stands than relabelled
        total += sums.mean()
    assert total - 1e-9 <= bounds.total < 0.05
