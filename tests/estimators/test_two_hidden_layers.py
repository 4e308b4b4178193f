"""Widths 5 and 6, all 86 400 elements: an enumeration that shares nothing with the package."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from brute_force import mlp, straddling_of
from scipy.special import logsumexp
from scipy.stats import norm

from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.estimators.layerwise import chain_values
from symdiag.estimators.total import total_estimate
from symdiag.estimators.values import DrawEnds, DrawValues, add
from symdiag.permanents import DEFAULT
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def enumerate_two_layers(posterior, draw):
    """log Σ_{g1, g2} q(gω)/q(ω), splitting log q into terms of (g1), (g1, g2) and (g2)."""

    def slots(name, axis):
        """[i, j]: log density of unit j's entries at slot i, for a tensor that one group permutes
        along ``axis``.
        """
        loc, scale, value = (
            np.moveaxis(a[name], axis, 0) for a in (posterior.loc, posterior.scale, draw)
        )
        table = norm.logpdf(value[None], loc[:, None], scale[:, None])
        return table.reshape(*table.shape[:2], -1).sum(-1)

    first, second = (
        np.array(list(itertools.permutations(range(n)))) for n in draw["l1.weight"].shape[::-1]
    )
    one = slots("l0.weight", 0) + slots("l0.bias", 0)
    two = slots("l1.bias", 0) + slots("l2.weight", 1)
    shared = norm.logpdf(
        draw["l1.weight"][None, None],
        posterior.loc["l1.weight"][..., None, None],
        posterior.scale["l1.weight"][..., None, None],
    )  # [i, k, i', k']
    columns, rows = np.arange(one.shape[0]), np.arange(two.shape[0])
    totals = []
    for p in first:
        matrix = (
            shared[:, columns, :, p].sum(0) + two
        )  # advanced indices put k first: Σ_k T[i, k, i', p(k)]
        totals.append(one[columns, p].sum() + matrix[rows, second].sum(1))
    start = one.trace() + two.trace() + shared[rows[:, None], columns, rows[:, None], columns].sum()
    return logsumexp(np.concatenate(totals)) - start


def test_the_enumeration_agrees_with_the_plain_one():
    posterior, spec = mlp((2, 3, 4, 1), seed=1, std=0.8)
    draw = {n: v[0] for n, v in posterior.sample(np.random.default_rng(0), 1).items()}
    assert enumerate_two_layers(posterior, draw) == pytest.approx(
        straddling_of(posterior, spec, draw), abs=1e-9
    )


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_brackets_of_widths_five_and_six(spread):
    count = 80
    posterior, spec = mlp((2, 5, 6, 1), seed=3, spread=spread, std=0.5)
    estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
    draws = estimator.draws(np.random.default_rng(1), count)
    batch = estimator.evaluate(
        draws, np.random.default_rng(2), certify=True, chain_draws=count, joint_draws=count
    )
    exact = np.array(
        [
            enumerate_two_layers(posterior, {n: v[s].numpy() for n, v in draws.items()})
            for s in range(count)
        ]
    )

    def no_more(smaller, larger):
        gap = larger - smaller
        assert gap.mean() > -3 * gap.std() / math.sqrt(count) - 1e-9

    no_more(add(list(batch.groups.values())).value, exact)
    np.testing.assert_allclose(batch.joint.value, exact, atol=1e-9)
    assert batch.joint.exact.all()

    def values(group, draws, tensors):
        return estimator.one_group(group, draws, np.random.default_rng(3), True, tensors)

    for order in (spec.groups, spec.groups[::-1]):
        no_more(exact, chain_values(order, batch.groups, draws, values).value)


def test_a_group_whose_tensors_are_all_scrambled_counts_with_the_log_of_its_order():
    """Rows and columns of one matrix permuted: whatever group comes first sees nothing and stays uniform."""
    loc = np.random.default_rng(0).normal(size=(3, 4))
    posterior = Posterior({"w": loc}, {"w": np.full(loc.shape, 0.5)})
    rows, columns = Group("r", 3, (Member("w", 0),)), Group("c", 4, (Member("w", 1),))
    estimator = StraddlingEstimator(posterior, PermutationSpec((rows, columns)), effort=DEFAULT)
    drawn = posterior.sample(np.random.default_rng(1), 20)["w"]
    draws = estimator.tensors({"w": drawn})

    def values(group, draws, tensors):
        return estimator.one_group(group, draws, np.random.default_rng(3), True, tensors)

    known = {g.name: values(g, draws, None) for g in (rows, columns)}
    density = norm.logpdf(drawn, loc, 0.5).sum((1, 2))
    moved = [
        norm.logpdf(drawn[:, list(p)][:, :, list(q)], loc, 0.5).sum((1, 2))
        for p in itertools.permutations(range(3))
        for q in itertools.permutations(range(4))
    ]
    exact = logsumexp(moved, axis=0) - density
    for first, second in ((rows, columns), (columns, rows)):
        found = chain_values((first, second), known, draws, values).value
        expected = first.log_order + known[second.name].value
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.mean() > exact.mean()


def test_dead_ends_of_the_joint_proposal_carry_no_weight():
    posterior, spec = mlp((10, 32, 30, 2), seed=5, spread=0.0, std=0.3)
    rng = np.random.default_rng(0)
    uneven = {
        n: v * 10.0 ** rng.normal(size=(len(v),) + (1,) * (v.ndim - 1))
        for n, v in posterior.scale.items()
    }
    estimator = StraddlingEstimator(posterior.replace(scale=uneven), spec, effort=DEFAULT)
    draws = estimator.draws(np.random.default_rng(0), 6)
    batch = estimator.evaluate(draws, np.random.default_rng(1), certify=False, joint_draws=6)
    layerwise = add(list(batch.groups.values()))
    assert np.isfinite(batch.joint.value).all()
    assert (batch.joint.expectation.lower < spec.log_order).all()
    assert abs((batch.joint.expectation.lower - layerwise.value).mean()) < 3.0


def test_infinite_ends_leave_the_total_bracketed_by_the_group_order():
    layerwise = DrawValues.of_exact(np.array([1.0, 2.0, 3.0]), "exact-dp")
    unbounded = dataclasses.replace(
        layerwise, expectation=DrawEnds.of(layerwise.value, np.array([1.0, np.inf, 3.0]))
    )
    unbounded = dataclasses.replace(unbounded, exact=np.zeros(3, dtype=bool))
    total = total_estimate(layerwise, [unbounded], unbounded, 10.0, coupled=True)
    assert total.upper == 10.0
    assert total.interval == "expectation"
