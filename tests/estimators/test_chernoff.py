"""The bound without draws against quadrature, enumeration and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from brute_force import mlp
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from symdiag.estimators import estimate_straddling
from symdiag.estimators.chernoff import (
    Units,
    chernoff_bound,
    concave_bound,
    log_overlap_matrix,
    log_permanent_upper,
)
from symdiag.permanents.exact import scaled_permanent
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.spec import Group, Member

GROUP = Group("h", 3, (Member("w", 0), Member("v", 1)))


def entropy_by_quadrature(loc, scale, *, signed=False, nodes=24):
    """H(g|ω) of n units of one weight each, by Gauss–Hermite quadrature over all n weights."""
    n = len(loc)
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    mesh = np.array(list(itertools.product(range(nodes), repeat=n)))
    chance = (weights / weights.sum())[mesh].prod(1)
    draws = loc + scale * points[mesh]  # (nodes^n, n)
    table = norm.logpdf(draws[:, None, :], loc[:, None], scale[:, None])  # slot i at unit j
    if signed:
        table = np.logaddexp(table, norm.logpdf(-draws[:, None, :], loc[:, None], scale[:, None]))
    orders = np.array(list(itertools.permutations(range(n))))
    total = logsumexp(table[:, np.arange(n), orders].sum(-1), axis=1)
    own = norm.logpdf(draws, loc, scale).sum(1)
    return float(chance @ (total - own))


def units_of_one_weight(loc, scale, *, signed=False):
    posterior = Posterior({"w": loc[:, None]}, {"w": scale[:, None]})
    return posterior, Group("h", len(loc), (Member("w", 0),), signed)


@pytest.mark.parametrize("power", [0.2, 0.5, 0.9])
def test_overlaps_are_the_integrals(power):
    rng = np.random.default_rng(int(10 * power))
    loc, spread = rng.normal(size=(4, 1)), np.exp(0.6 * rng.normal(size=(4, 1)))
    found = log_overlap_matrix(loc, loc, np.log(spread), power)
    for i, j in itertools.product(range(4), repeat=2):

        def integrand(x, i=i, j=j):
            slot, unit = (norm.logpdf(x, loc[k, 0], spread[k, 0]) for k in (i, j))
            return math.exp(power * slot + (1 - power) * unit)

        assert math.exp(found[i, j]) == pytest.approx(
            quad(integrand, -40, 40, limit=200)[0], rel=1e-7
        )


def test_overlaps_of_many_weights_add_up():
    rng = np.random.default_rng(0)
    loc, log_scale = rng.normal(size=(5, 50)), 0.3 * rng.normal(size=(5, 50))
    single = [
        log_overlap_matrix(loc[:, [d]], loc[:, [d]], log_scale[:, [d]], 0.7) for d in range(50)
    ]
    together = log_overlap_matrix(0.2 * loc, 0.2 * loc, log_scale, 0.7)
    small = [
        log_overlap_matrix(0.2 * loc[:, [d]], 0.2 * loc[:, [d]], log_scale[:, [d]], 0.7)
        for d in range(50)
    ]
    assert together == pytest.approx(sum(small), abs=1e-12)
    # left off below e^-50, a sum is still an upper bound
    far = log_overlap_matrix(9 * loc, 9 * loc, log_scale, 0.7)
    assert (far[~np.eye(5, dtype=bool)] < -50).all()
    assert (far >= sum(single) - 81 * 50 * 9).all()


@pytest.mark.parametrize("power", [0.3, 0.5, 0.8])
def test_concave_bound_is_sharp(power):
    # X in {0, x} touches the envelope where the tangent does; every other X stays below
    grid = np.exp(np.linspace(-8, 8, 4001))
    x = grid[np.argmax(np.log1p(grid) / grid**power)]
    for chance in (1e-9, 1e-3, 0.5, 1.0):
        bound = concave_bound(math.log(chance * x**power), power)
        assert bound == pytest.approx(chance * math.log1p(x), rel=1e-5)
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = np.exp(4 * rng.normal(size=6)) * (rng.random(6) < 0.7)
        chance = rng.dirichlet(np.ones(6))
        bound = concave_bound(math.log(chance @ values**power + 1e-300), power)
        assert bound >= chance @ np.log1p(values) - 1e-12


def test_power_one_gives_the_log_order():
    assert concave_bound(math.log(119), 1.0) == pytest.approx(math.log(120))
    posterior, group = units_of_one_weight(np.zeros(5), np.ones(5))
    bound = chernoff_bound(posterior, group)
    assert (bound.value, bound.power) == (pytest.approx(math.log(120)), 1.0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [2, 3])
def test_bound_is_never_below_the_entropy(width, signed):
    # near-identical, transition, separated and pruned units, one weight each: the entropy by quadrature
    rng = np.random.default_rng(width + 10 * signed)
    tight = []
    for k in range(60):
        spread = 10.0 ** rng.uniform(-1, 1.3)
        loc, scale = spread * rng.normal(size=width), np.exp(0.4 * rng.normal(size=width))
        if k % 4 == 0:
            loc[:2], scale[:2] = 0.0, 1.0
        truth = entropy_by_quadrature(loc, scale, signed=signed)
        bound = chernoff_bound(*units_of_one_weight(loc, scale, signed=signed)).value
        assert bound >= truth - 1e-6 - 1e-3 * truth
        tight.append(bound < 4.0 * truth + 0.05)
    assert np.mean(tight) > 0.9


@pytest.mark.parametrize("signed", [False, True])
def test_deterministic_weights_stand_against_exchange(signed):
    rng = np.random.default_rng(3)
    posterior = Posterior(
        {"w": rng.normal(size=(3, 2)), "v": np.array([[1.0, 1.0, 2.0]])},
        {"w": np.full((3, 2), 0.8), "v": np.zeros((1, 3))},
    )
    group = Group(GROUP.name, 3, GROUP.members, signed)
    pair = Posterior({"w": posterior.loc["w"][:2]}, {"w": posterior.scale["w"][:2]})
    alone = chernoff_bound(pair, Group("h", 2, (Member("w", 0),)))
    # the third unit's deterministic weight pins it, and all of them forbid a flip
    assert chernoff_bound(posterior, group).value == pytest.approx(alone.value, rel=1e-9)
    apart = posterior.replace(loc={**posterior.loc, "v": np.array([[1.0, 3.0, 2.0]])})
    assert chernoff_bound(apart, group).value == 0.0


def test_flips_of_one_unit_by_quadrature():
    for mean in (0.1, 1.0, 3.0):
        posterior, group = units_of_one_weight(np.array([mean]), np.ones(1), signed=True)
        truth = quad(lambda z, m=mean: norm.pdf(z) * np.logaddexp(0, -2 * m * (m + z)), -12, 12)[0]
        bound = chernoff_bound(posterior, group).value
        assert truth <= bound <= min(math.log(2), 4 * truth)


def test_correlations_and_doubly_moved_tensors_are_left_alone():
    rng = np.random.default_rng(5)
    loc = {"w": rng.normal(size=(3, 3)), "v": 9 * rng.normal(size=(1, 3))}
    posterior = Posterior(loc, {n: np.full(v.shape, 0.1) for n, v in loc.items()})
    tied = Covariance(("w", "v"), np.full((12, 1), 0.01), np.full(12, 0.0099))
    assert chernoff_bound(posterior.replace(covariance=tied), GROUP).value == GROUP.log_order
    recurrent = Group("h", 3, (Member("w", 0), Member("w", 1), Member("v", 1)))
    only = chernoff_bound(posterior, Group("h", 3, (Member("v", 1),)))
    assert chernoff_bound(posterior, recurrent) == only
    assert only == chernoff_bound(posterior, GROUP, tensors=("v",))


def test_permanent_bound_holds_and_closes_on_blocks():
    rng = np.random.default_rng(7)
    for n, width in ((6, 1.0), (18, 8.0), (20, 2.0), (20, 8.0), (20, 30.0), (20, 90.0)):
        log_weights = -width * rng.random((n, n))
        np.fill_diagonal(log_weights, 0.0)
        truth = math.log(scaled_permanent(np.exp(log_weights))[0])
        found = log_permanent_upper(log_weights)
        assert truth - 1e-12 <= found <= truth + (0.25 * n if n == 20 else 1e-9)
    blocks = np.full((24, 24), -60.0)
    for start in range(0, 24, 3):
        blocks[start : start + 3, start : start + 3] = 0.0
    assert log_permanent_upper(blocks) == pytest.approx(8 * math.log(6), abs=1e-9)


def test_a_thousand_separated_units_are_certified():
    posterior, spec = mlp((50, 1024, 1), 0, std=0.5)
    assert chernoff_bound(posterior, spec.groups[0]).value < 1e-9


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("std", [0.2, 0.5, 1.0])
def test_bound_lies_above_the_sampled_entropy(std, signed):
    posterior, spec = mlp((3, 6, 1), 1, std=std, signed=signed)
    sampled = estimate_straddling(posterior, spec, samples=300, seed=2).total
    bound = chernoff_bound(posterior, spec.groups[0])
    assert bound.value >= sampled.lower
    assert bound.value <= 5.0 * sampled.upper + 1e-3
    assert Units.of(posterior, spec.groups[0], ("l0.weight",)).loc.shape == (6, 3)


@pytest.mark.parametrize(
    ("fixed", "elements"), [([1.0, -1.0], 2), ([1.0, 1.0], 2), ([1.0, 2.0], 1), ([0.0, 0.0], 8)]
)
def test_deterministic_weights_allow_what_a_flip_makes_equal(fixed, elements):
    """w ~ N(0, 1) alike in both units, so H is the log of how many elements keep the fixed weights."""
    posterior = Posterior(
        {"w": np.zeros(2), "d": np.array(fixed)}, {"w": np.ones(2), "d": np.zeros(2)}
    )
    group = Group("h", 2, (Member("w", 0), Member("d", 0)), True)
    assert chernoff_bound(posterior, group).value == pytest.approx(math.log(elements), abs=1e-9)
