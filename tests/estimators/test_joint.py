"""The whole group at once: exact sums against enumeration, sampled bounds against the exact sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from brute_force import mlp, one_draw, straddling_of
from scipy.special import logsumexp

from symdiag.estimators import estimate_straddling, joint
from symdiag.estimators.joint import JointSandwich
from symdiag.permanents import small_log_permanents
from symdiag.permanents.exact import exact_log_permanent
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def to_torch(arrays):
    return {n: torch.from_numpy(np.asarray(v)) for n, v in arrays.items()}


def recurrent(width, seed=5, spread=1.0, std=0.6):
    """Units that act on both axes of one tensor: no permanent."""
    rng = np.random.default_rng(seed)
    loc = {"w": spread * rng.normal(size=(width, 2)), "r": 0.5 * rng.normal(size=(width, width))}
    members = (Member("w", 0), Member("r", 0), Member("r", 1))
    spec = PermutationSpec((Group("h", width, members),))
    return Posterior(loc, {n: np.full(v.shape, std) for n, v in loc.items()}), spec


def correlated(width=4):
    rng = np.random.default_rng(0)
    factor = 0.5 * rng.normal(size=(width, width)) + 0.7 * np.eye(width)
    std = np.sqrt(np.diag(factor @ factor.T))
    loc, covariance = {"w": rng.normal(size=width)}, Covariance(("w",), factor, np.zeros(width))
    spec = PermutationSpec((Group("h", width, (Member("w", 0),)),))
    return Posterior(loc, {"w": std}, covariance=covariance), spec, np.linalg.inv(factor @ factor.T)


def partly_deterministic():
    """Two units of the first layer agree in their deterministic weights, the others do not."""
    posterior, spec = mlp((2, 4, 3, 1), seed=2, std=0.8)
    scale, loc = (
        {n: v.copy() for n, v in part.items()} for part in (posterior.scale, posterior.loc)
    )
    scale["l0.weight"][:, 0] = 0.0
    loc["l0.weight"][:, 0] = [1.0, 1.0, -1.0, 0.5]
    return posterior.replace(loc=loc, scale=scale), spec


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_small_permanents_equal_the_compiled_ones(n):
    rng = np.random.default_rng(n)
    matrices = rng.normal(size=(20, n, n)) * 10.0 ** rng.uniform(-1, 4, size=(20, 1, 1))
    matrices[rng.random(matrices.shape) < 0.1] = -np.inf
    np.testing.assert_allclose(
        small_log_permanents(matrices), exact_log_permanent(matrices), rtol=1e-12, atol=1e-11
    )


@pytest.mark.parametrize(
    "case",
    [
        lambda: mlp((2, 4, 3, 1), seed=5, spread=0.6),
        lambda: mlp((2, 3, 3, 3, 1), seed=5, spread=0.6),
        lambda: mlp((1, 3, 2, 1), seed=5, spread=0.6, signed=True),
        lambda: recurrent(3),
        partly_deterministic,
    ],
    ids=["two layers", "three layers", "signs", "recurrent", "deterministic weights"],
)
def test_exact_sums_equal_enumeration(case):
    posterior, spec = case()
    sandwich = JointSandwich(posterior, spec)
    for seed in range(3):
        draw = one_draw(posterior, seed)
        found = sandwich(
            {n: v[None] for n, v in to_torch(draw).items()}, 2, np.random.default_rng(0)
        )
        assert found.exact.all()
        assert found.value[0] == pytest.approx(straddling_of(posterior, spec, draw), abs=1e-9)


def test_exact_sum_of_a_correlated_posterior_uses_its_true_density():
    posterior, spec, precision = correlated()
    draws = posterior.sample(np.random.default_rng(1), 20)["w"]

    def energy(x):
        return -0.5 * (x - posterior.loc["w"]) @ precision @ (x - posterior.loc["w"])

    orders = [list(p) for p in itertools.permutations(range(4))]
    exact = [logsumexp([energy(x[p]) for p in orders]) - energy(x) for x in draws]
    found = JointSandwich(posterior, spec)(
        {"w": torch.from_numpy(draws)}, 2, np.random.default_rng(2)
    )
    np.testing.assert_allclose(found.value, exact, atol=1e-9)


SAMPLED = {
    "5-6": (lambda: mlp((2, 5, 6, 1), seed=3, spread=1.0), 0.05),
    "5-6 straddling": (lambda: mlp((2, 5, 6, 1), seed=3, spread=0.3), 0.15),
    "4-4-4": (lambda: mlp((2, 4, 4, 4, 1), seed=5, spread=0.6), 0.05),
    "signs": (lambda: mlp((2, 4, 4, 1), seed=5, spread=0.6, signed=True), 0.2),
    "recurrent": (lambda: recurrent(6, spread=0.5), 0.5),
    "correlated": (lambda: correlated()[:2], 0.05),
    "deterministic weights": (partly_deterministic, 0.05),
}


@pytest.mark.parametrize("summed", [0, 8])
@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_bounds_enclose_the_exact_sum(name, summed, monkeypatch):
    case, closes_to = SAMPLED[name]
    posterior, spec = case()
    count = 40
    draws = to_torch(posterior.sample(np.random.default_rng(1), count))
    exact = JointSandwich(posterior, spec)(draws, 2, np.random.default_rng(0))
    assert exact.exact.all()
    monkeypatch.setattr(joint, "MAX_ENUMERATED", 1)
    monkeypatch.setattr(joint, "SMALL", summed)
    sandwich = JointSandwich(posterior, spec)
    if sandwich.sum.enumerable:
        pytest.skip("nothing left to sample")
    found = sandwich(draws, 128, np.random.default_rng(2))
    assert not found.exact.any()
    low, high = exact.value - found.expectation.lower, found.expectation.upper - exact.value
    assert low.mean() > -3 * low.std() / math.sqrt(count) - 1e-9
    assert high.mean() > -3 * high.std() / math.sqrt(count) - 1e-9
    assert (found.expectation.upper - found.expectation.lower).mean() < closes_to


def test_bounds_tighten_with_more_elements(monkeypatch):
    monkeypatch.setattr(joint, "MAX_ENUMERATED", 1)
    posterior, spec = mlp((2, 3, 3, 1), seed=8, spread=0.5, std=0.6)
    sandwich = JointSandwich(posterior, spec)
    draws = to_torch(posterior.sample(np.random.default_rng(1), 60))
    widths = []
    for count in (2, 16, 64):
        found = sandwich(draws, count, np.random.default_rng(2))
        widths.append((found.expectation.upper - found.expectation.lower).mean())
    assert widths[0] > widths[1] > widths[2]


def test_total_of_a_small_deep_net_is_exact_and_at_least_the_sum_over_groups():
    posterior, spec = mlp((2, 5, 6, 1), seed=3, spread=0.3)
    result = estimate_straddling(posterior, spec, samples=200)
    assert result.total.interval == "exact"
    assert result.total.method == "joint enumerated"
    draws = to_torch(posterior.sample(np.random.default_rng(9), 400))
    other = JointSandwich(posterior, spec)(draws, 2, np.random.default_rng(0)).value
    error = math.hypot(result.total.std_error, other.std() / math.sqrt(400))
    assert abs(result.total.value - other.mean()) < 4 * error
    assert result.total.value > sum(g.entropy.value for g in result.groups)
    few = estimate_straddling(
        posterior, spec, samples=400, budget=0.05
    ).total  # fewer joint draws than draws
    assert abs(few.value - other.mean()) < 4 * math.hypot(
        few.std_error, other.std() / math.sqrt(400)
    )


def test_permanents_serve_the_other_groups_of_a_recurrent_net():
    """A recurrent group needs enumeration; the dense one after it keeps its exact permanent, at any
    width up to 20.
    """
    rng = np.random.default_rng(0)
    posterior, spec = recurrent(3)
    loc = {**posterior.loc, "d": rng.normal(size=(10, 3)), "o": rng.normal(size=(1, 10))}
    both = Posterior(loc, {n: np.full(v.shape, 0.6) for n, v in loc.items()})
    dense = Group("dense", 10, (Member("d", 0), Member("o", 1)))
    first = Group("h", 3, (*spec.groups[0].members, Member("d", 1)))
    result = estimate_straddling(both, PermutationSpec((first, dense)), samples=40)
    by_name = {g.group.name: g.entropy for g in result.groups}
    assert by_name["h"].method == "enumerated"
    assert by_name["dense"].method == "exact-dp"
    parts = sum(entropy.value for entropy in by_name.values())
    assert result.total.value == pytest.approx(parts, abs=1e-9)  # Σ H_l, a lower bound on H_G
    small = Group("dense", 4, dense.members)
    loc = {**posterior.loc, "d": loc["d"][:4], "o": loc["o"][:, :4]}
    both = Posterior(loc, {n: np.full(v.shape, 0.6) for n, v in loc.items()})
    total = PermutationSpec((first, small))
    draw = one_draw(both, 1)
    found = JointSandwich(both, total)({n: v[None] for n, v in to_torch(draw).items()}, 2, rng)
    assert found.value[0] == pytest.approx(straddling_of(both, total, draw), abs=1e-9)


def test_wide_groups_are_bracketed_not_enumerated():
    posterior, spec = mlp((2, 9, 9, 1), seed=3, spread=0.6)
    total = estimate_straddling(posterior, spec, samples=32).total
    assert total.interval == "expectation"
    draws = to_torch(posterior.sample(np.random.default_rng(3), 24))
    ends = JointSandwich(posterior, spec)(draws, 64, np.random.default_rng(4)).expectation
    error = 3 * math.hypot(ends.lower.std() / math.sqrt(24), total.std_error)
    assert total.upper >= ends.lower.mean() - error
    assert total.lower <= ends.upper.mean() + error


def test_a_group_that_shares_every_tensor_is_bracketed_too():
    """Heads between a stream of units that all their tensors touch: nothing shows the heads' labels
    alone.
    """
    rng = np.random.default_rng(3)
    shapes = {"in": (10, 2), "q": (9, 10), "o": (10, 9), "out": (1, 10)}
    loc = {n: rng.normal(size=s) for n, s in shapes.items()}
    posterior = Posterior(loc, {n: np.full(v.shape, 0.3) for n, v in loc.items()})
    heads = Group("heads", 9, (Member("q", 0), Member("o", 1)))
    stream = Group(
        "stream", 10, (Member("in", 0), Member("q", 1), Member("o", 0), Member("out", 1))
    )
    for groups in ((heads, stream), (stream, heads)):
        total = estimate_straddling(posterior, PermutationSpec(groups), samples=16).total
        again = estimate_straddling(posterior, PermutationSpec(groups), samples=16, seed=1).total
        assert max(total.upper, again.upper) < 3.0
        assert total.lower <= again.upper
        assert again.lower <= total.upper
