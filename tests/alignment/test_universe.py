"""Several runs in one labelling: cycle consistency, and variance between and within runs."""

from __future__ import annotations

import numpy as np
import pytest
from alignment_examples import mlp_spec, planted, random_posterior, same_action

from symdiag.alignment import align_many
from symdiag.alignment.universe import barycentre, spread
from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act


def total_distance(universe):
    return sum(alignment.certificate.distance for alignment in universe.alignments)


def runs(noise, count=4, *, signed=True, seed=0):
    generator = np.random.default_rng(seed)
    spec, shapes = mlp_spec([3, 8, 6, 2], signed=signed)
    reference = random_posterior(shapes, generator)
    made = [planted(reference, spec, generator, noise=noise) for _ in range(count)]
    return reference, [m for m, _ in made], [t for _, t in made], spec


def test_relabelled_copies_come_together_exactly():
    _, posteriors, _, spec = runs(0.0)
    universe = align_many(posteriors, spec)
    assert total_distance(universe) == pytest.approx(0.0, abs=1e-20)
    assert universe.before.rhat > 1.1
    assert universe.after.rhat == pytest.approx(1.0, abs=1e-12)
    for first in range(4):
        for second in range(4):
            between = universe.between(first, second)
            moved = act(spec, between, posteriors[first].loc)
            assert all(moved[n] == pytest.approx(posteriors[second].loc[n]) for n in moved)


def test_going_round_any_circle_of_runs_is_the_identity():
    # true even for unrelated runs, where pairwise alignment is not consistent
    generator = np.random.default_rng(1)
    spec, shapes = mlp_spec([2, 7, 7, 1], signed=True)
    universe = align_many([random_posterior(shapes, generator) for _ in range(3)], spec, restarts=2)
    path = [universe.between(a, b) for a, b in ((0, 1), (1, 2), (2, 0))]
    for group in spec:
        total = Element.identity(group.width)
        for action in path:
            total = total.compose(action[group.name])
        assert total.is_identity
    assert all(e.is_identity for e in universe.between(1, 1).values())


def test_between_run_variance_after_alignment_is_that_of_the_noise():
    noise = 0.05
    _, posteriors, truths, spec = runs(noise, count=12)
    universe = align_many(posteriors, spec, restarts=4)
    size = posteriors[0].num_parameters
    # the planted noise is the only real difference between runs: variance noise² per weight
    assert universe.after.between / size == pytest.approx(noise**2, rel=0.1)
    assert universe.before.between / size > 0.3
    assert universe.after.within == pytest.approx(universe.before.within)
    expected = np.sqrt(1 + universe.after.between / universe.after.within)
    assert universe.after.rhat == pytest.approx(expected)
    # all runs agree with the planted relabelling, up to one common relabelling of the universe
    first = universe.between(0, 1)
    truth = {n: truths[0][n].compose(truths[1][n].inverse()) for n in first}
    assert same_action(first, truth)


def test_the_barycentre_beats_every_single_run_as_the_centre():
    _, posteriors, _, spec = runs(0.3)
    universe = align_many(posteriors, spec)
    for run in universe.posteriors:
        others = sum(
            float(((p.loc[n] - run.loc[n]) ** 2).sum() + ((p.scale[n] - run.scale[n]) ** 2).sum())
            for p in universe.posteriors
            for n in p.names
        )
        assert total_distance(universe) <= others


def test_spread_by_hand():
    first = Posterior(
        {"a": np.array([0.0, 1.0]), "b": np.array([5.0])},
        {"a": np.array([1.0, 0.0]), "b": np.array([0.0])},
    )
    second = first.replace(loc={"a": np.array([2.0, 2.0]), "b": np.array([5.0])})
    found = spread([first, second])
    # variances over runs: a 2 and 0.5, b 0; only the first weight of a is random, with variance 1
    assert (found.between, found.within) == (2.5, 1.0)
    assert found.rhat == pytest.approx(np.sqrt(3.0))
    assert found.worst == pytest.approx(np.sqrt(3.0))
    assert found.per_tensor == {"a": pytest.approx(np.sqrt(3.0)), "b": None}
    middle = barycentre([first, second])
    assert middle.loc["a"].tolist() == [1.0, 1.5]


def test_deterministic_runs_have_no_rhat_but_a_between_run_variance():
    _, posteriors, _, spec = runs(0.1)
    points = [
        p.replace(scale={n: np.zeros_like(s) for n, s in p.scale.items()}) for p in posteriors
    ]
    universe = align_many(points, spec, restarts=4)
    assert universe.after.rhat is None
    assert universe.after.worst is None
    assert 0 < universe.after.between < universe.before.between


def test_one_posterior_is_no_universe():
    _, posteriors, _, spec = runs(0.0, count=1)
    with pytest.raises(UsageError) as caught:
        align_many(posteriors, spec)
    assert caught.value.code == "too-few-posteriors"
