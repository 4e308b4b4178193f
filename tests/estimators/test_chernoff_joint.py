"""The bounds without draws over several groups, against enumeration of every group element."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from brute_force import mlp
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from symdiag.estimators.chernoff import chernoff_bound, concave_bound
from symdiag.estimators.chernoff_displaced import displaced_bound, log_displaced_sum
from symdiag.estimators.chernoff_enumerated import element_overlaps, enumerated_bound
from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.estimators.joint import GroupSum
from symdiag.permanents import DEFAULT
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def random_net(rng, *, recurrent=False):
    """A net of two or three hidden layers of 2-4 units of any regime: alike, apart, pruned, fixed."""
    shapes = [(2, 2), (2, 3), (3, 2), (3, 3), (4, 2), (2, 2, 2), (3, 2, 3), (2, 4)]
    hidden = shapes[rng.integers(len(shapes))]
    signed = bool(rng.random() < 0.3) and max(hidden) < 4
    std = 10.0 ** rng.uniform(-1.5, 0.7)
    posterior, spec = mlp((2, *hidden, 1), int(rng.integers(1 << 30)), std=std, signed=signed)
    loc, scale = ({n: v.copy() for n, v in a.items()} for a in (posterior.loc, posterior.scale))
    kind = rng.integers(5)
    if kind == 0:  # two units nearly alike
        for member in spec.groups[0].members:
            for arrays in (loc, scale):
                units = np.moveaxis(arrays[member.tensor], member.axis, 0)
                units[1] = units[0] * (1.0 + 1e-3 * rng.normal())
    if kind == 1:  # a pruned unit: prior in, nothing out
        loc["l0.weight"][0], loc["l1.weight"][:, 0] = 0.0, 0.0
        scale["l0.weight"][0], scale["l1.weight"][:, 0] = 1.0, 1e-3
    if kind == 2:  # deterministic weights, some of them equal
        name = list(loc)[rng.integers(len(loc))]
        scale[name][:] = 0.0
        loc[name] = np.round(loc[name])
    if recurrent:
        width = spec.groups[0].width
        loc["r"], scale["r"] = rng.normal(size=(width, width)), np.full((width, width), std)
        first = spec.groups[0]
        members = (*first.members, Member("r", 0), Member("r", 1))
        groups = (Group(first.name, width, members, signed), *spec.groups[1:])
        spec = PermutationSpec(groups)
    return Posterior(loc, scale), spec


@pytest.mark.parametrize("recurrent", [False, True])
def test_counting_displaced_units_is_never_below_the_enumerated_sum(recurrent):
    rng = np.random.default_rng(int(recurrent))
    finite = 0
    for _ in range(60):
        posterior, spec = random_net(rng, recurrent=recurrent)
        for power in (0.5, 0.7):
            exact = float(logsumexp(element_overlaps(posterior, spec, power)[1:]))
            found = log_displaced_sum(posterior, spec, power)
            assert found >= exact - 1e-9 * (1.0 + abs(exact)) or exact < -700.0
            finite += found < 0.0
    assert finite >= 30


@pytest.mark.parametrize("std", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("signed", [False, True])
def test_all_bounds_lie_above_the_joint_entropy(std, signed):
    posterior, spec = mlp((2, 3, 3, 1), 4, std=std, signed=signed)
    estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
    joint = GroupSum(posterior, spec, estimator.loc, estimator.scale)
    draws = estimator.tensors(posterior.sample(np.random.default_rng(5), 150))
    exact = np.array([joint.exact({n: v[s] for n, v in draws.items()}) for s in range(150)])
    lowest = exact.mean() - 3.0 * exact.std(ddof=1) / math.sqrt(len(exact))
    enumerated = enumerated_bound(posterior, spec)
    assert enumerated is not None
    assert lowest <= enumerated.value <= displaced_bound(posterior, spec).value + 1e-12
    assert enumerated.value <= 4.0 * exact.mean() + 2e-2


def test_one_group_enumerated_is_its_permanent():
    for signed, std in itertools.product([False, True], [0.3, 0.8]):
        posterior, spec = mlp((2, 4, 1), 3, std=std, signed=signed)
        found = enumerated_bound(posterior, spec)
        assert found is not None
        assert found.value == pytest.approx(
            chernoff_bound(posterior, spec.groups[0]).value, abs=1e-9
        )


def test_overlaps_of_a_correlated_posterior_by_quadrature():
    mean, dense = np.array([0.4, -0.7]), np.array([[1.0, 0.6], [0.6, 0.5]])
    posterior = Posterior(
        {"w": mean[:, None]},
        {"w": np.sqrt(np.diagonal(dense))[:, None]},
        covariance=Covariance(("w",), np.linalg.cholesky(dense), np.zeros(2)),
    )
    group = Group("h", 2, (Member("w", 0),), signed=True)
    found = element_overlaps(posterior, PermutationSpec((group,)), 0.4)
    q = multivariate_normal(mean, dense)
    axis = np.linspace(
        -9.0, 9.0, 361
    )  # the trapezoid rule is exact to rounding for such integrands
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    expected = []
    for order in ([0, 1], [1, 0]):
        for signs in itertools.product((1.0, -1.0), repeat=2):
            logs = 0.4 * q.logpdf(points[..., order] * signs) + 0.6 * q.logpdf(points)
            expected.append(float(logsumexp(logs)) + 2.0 * math.log(axis[1] - axis[0]))
    assert np.sort(found) == pytest.approx(np.sort(expected), abs=1e-8)
    assert found[0] == pytest.approx(0.0, abs=1e-12)


def test_large_groups_are_not_visited():
    assert enumerated_bound(*mlp((2, 8, 8, 1), 0)) is None


def test_joint_bound_uses_what_the_groups_share():
    # 12 inputs identify the first layer only just; with the matrix between the layers nothing is left
    posterior, spec = mlp((12, 60, 60, 1), 0, std=0.4)
    first, second = spec.groups
    alone = chernoff_bound(posterior, first, tensors=("l0.weight", "l0.bias")).value
    assert alone > 1e-4
    assert displaced_bound(posterior, spec).value < 1e-12
    # where one group's own weights tell nothing, and the other's cannot pay for both, log|G| is all it says
    blind, spec = mlp((1, 40, 40, 1), 0, std=2.0)
    assert displaced_bound(blind, spec).value == pytest.approx(spec.log_order)
    assert concave_bound(math.inf, 0.5) == math.inf
    assert second.width == 60
