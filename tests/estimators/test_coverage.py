"""Values averaged over labellings, and how often each kind of interval holds the enumerated truth."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
from brute_force import elements, log_density, mlp, one_draw
from scipy.special import logsumexp, xlogy
from scipy.stats import binom, norm

from symdiag.estimators import estimate_straddling
from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.permanents import DEFAULT, Effort
from symdiag.symmetry.elements import act

MANY, FEW = pytest.param(200, marks=pytest.mark.slow), 60
WIDTH = 5


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("std", [0.3, 1.0])
def test_averaged_value_is_the_entropy_over_enumerated_labellings(signed, std):
    posterior, spec = mlp((2, 4, 1), seed=3, std=std, signed=signed)
    draw = one_draw(posterior, 4)
    group = spec.groups[0]
    logs = np.array(
        [log_density(posterior, act(spec, {group.name: g}, draw)) for g in elements(group)]
    )
    chance = np.exp(logs - logsumexp(logs))
    estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
    kept = {n: v[None] for n, v in draw.items()}
    values = estimator.evaluate(
        estimator.tensors(kept), np.random.default_rng(0), certify=True
    ).groups[group.name]
    assert values.rao_blackwellised[0] == pytest.approx(-xlogy(chance, chance).sum(), abs=1e-9)
    assert values.value[0] == pytest.approx(-math.log(chance[0]), abs=1e-9)


def enumerated_entropy(posterior, seed, count=8_000):
    """H(g|ω) of a one-hidden-layer net: mean over draws of the entropy over every permutation."""
    names, rng = [("l0.weight", 0), ("l0.bias", 0), ("l1.weight", 1)], np.random.default_rng(seed)
    orders = np.array(list(itertools.permutations(range(WIDTH))))
    table = np.zeros((count, WIDTH, WIDTH))
    for name, axis in names:
        loc, scale = (
            np.moveaxis(a[name], axis, 0).reshape(WIDTH, -1)
            for a in (posterior.loc, posterior.scale)
        )
        draw = loc + scale * rng.normal(size=(count, *loc.shape))
        table += norm.logpdf(draw[:, None], loc[:, None], scale[:, None]).sum(-1)
    logs = table[:, np.arange(WIDTH), orders].sum(-1)
    logs -= logsumexp(logs, axis=1, keepdims=True)
    return float(-(np.exp(logs) * logs).sum(1).mean())


@cache
def with_truth(seed):
    posterior, spec = mlp((2, WIDTH, 1), seed=seed, spread=0.6, std=0.5)
    return posterior, spec, enumerated_entropy(posterior, 10_000 + seed)


def fewest(rate, count):
    """How often an event of this chance occurs at least, in all but one of 200 such counts."""
    return binom.ppf(0.005, count, rate)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_exact_intervals_hold_the_truth_at_their_rate(count):
    """Two standard errors of as few as 64 draws: 95 %, within what so many posteriors can tell."""
    held = 0
    for seed in range(count):
        posterior, spec, truth = with_truth(seed)
        total = estimate_straddling(posterior, spec, samples=64, seed=seed).total
        assert total.interval == "exact"
        held += total.lower <= truth <= total.upper
    assert held >= fewest(0.95, count)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_sampled_intervals_of_every_kind_hold_the_truth_at_their_rate(count):
    """Blocks above 2 units are sampled: certified, 1 − δ and in-expectation brackets beside the
    enumerated value.
    """
    held = dict.fromkeys(("certified", "probability", "expectation"), 0)
    effort = Effort(max_exact=2, particles=16, runs=2)
    for seed in range(count):
        posterior, spec, truth = with_truth(seed)
        total = estimate_straddling(posterior, spec, samples=32, seed=seed, effort=effort).total
        for bracket in total.brackets:
            if bracket.kind == "deterministic":  # no draws, so no exceptions
                assert truth <= bracket.upper
            else:
                held[bracket.kind] += bracket.lower <= truth <= bracket.upper
    # brackets wider than two standard errors: certain ends hold more often than in expectation
    assert held["certified"] >= fewest(0.99, count)
    assert held["probability"] >= fewest(0.99, count)
    assert held["expectation"] >= fewest(0.95, count)
