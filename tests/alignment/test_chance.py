"""Independent networks are told from one network under different labels, by the share relabelling removes."""

from __future__ import annotations

import numpy as np
import pytest
from alignment_examples import mlp_spec, planted, random_posterior

from symdiag.alignment import (
    align,
    align_many,
    align_samples,
    chance_of_draws,
    chance_of_pair,
    chance_of_universe,
    relabelled,
    relabelled_share,
)
from symdiag.alignment.chance import FALSE_ALARM, chance_of
from symdiag.symmetry.elements import random_action


def untrained(shapes, count, generator):
    """Networks as they are initialised: uniform within ± 1/√(inputs), all entries independent."""
    return {
        name: generator.uniform(-1.0, 1.0, (count, *shape)) / np.sqrt(shape[-1])
        for name, shape in shapes.items()
    }


def switching_draws(shapes, spec, count, generator):
    """Draws around one network, most of them relabelled at random."""
    centre = untrained(shapes, 1, generator)
    draws = {
        name: values + 0.1 * values.std() * generator.standard_normal((count, *shapes[name]))
        for name, values in centre.items()
    }
    actions = [random_action(spec, generator) for _ in range(count)]
    return relabelled(draws, spec, actions)


def judged(draws, spec, seed):
    found = align_samples(draws, spec, generator=np.random.default_rng(seed))
    share = relabelled_share(draws, found.draws)
    chance = chance_of_draws(draws, spec, generator=np.random.default_rng(1000 + seed))
    return share, chance


@pytest.mark.parametrize("repetition", range(20))
def test_untrained_independent_networks_share_no_labels_but_planted_switching_is_found(repetition):
    """Five 10-16-1 networks: relabelling removes about a third of the variance from either kind."""
    generator = np.random.default_rng(repetition)
    spec, shapes = mlp_spec([10, 16, 1])
    share, chance = judged(untrained(shapes, 5, generator), spec, repetition)
    assert 0.25 < share <= chance.upper
    share, chance = judged(switching_draws(shapes, spec, 5, generator), spec, repetition)
    assert share > chance.upper


def test_the_limit_is_exceeded_by_chance_as_rarely_as_it_says():
    """Shares with log(1 − share) normal: the limit from R of them covers one more, whatever R."""
    generator = np.random.default_rng(0)
    for replicates in (3, 6, 24):
        shares = 1.0 - np.exp(generator.normal(-0.5, 0.1, (4000, replicates + 1)))
        above = np.mean([s[-1] > chance_of(s[:-1]).upper for s in shares])
        assert above == pytest.approx(FALSE_ALARM, abs=4 * np.sqrt(FALSE_ALARM / 4000))
    assert chance_of([0.30, 0.34, 0.32]).mean == pytest.approx(0.32)
    assert chance_of([0.9, 0.99, 0.8]).upper < 1.0


def test_a_share_is_that_of_the_variance_over_draws():
    before = {"a": np.array([[0.0, 1.0], [1.0, 0.0]]), "b": np.array([[0.0], [2.0]])}
    after = {"a": np.array([[0.0, 1.0], [0.0, 1.0]]), "b": before["b"]}
    assert relabelled_share(before, after) == pytest.approx(1.0 - 2.0 / 3.0)
    still = {"a": np.ones((3, 2))}
    assert relabelled_share(still, still) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_a_relabelled_posterior_is_told_from_an_unrelated_one(seed):
    generator = np.random.default_rng(seed)
    spec, shapes = mlp_spec([3, 8, 1])
    reference = random_posterior(shapes, generator)
    relabelled_one, _ = planted(reference, spec, generator)
    unrelated = random_posterior(shapes, generator)
    for model, is_chance in ((relabelled_one, False), (unrelated, True)):
        found = align(model, reference, spec, generator=np.random.default_rng(0))
        chance = chance_of_pair(
            model, reference, spec, cost="w2", generator=np.random.default_rng(1)
        )
        assert (found.relabelling_share <= chance.upper) == is_chance


@pytest.mark.parametrize("seed", range(3))
def test_relabelled_runs_are_told_from_unrelated_ones_in_one_universe(seed):
    generator = np.random.default_rng(seed)
    spec, shapes = mlp_spec([3, 6, 1])
    reference = random_posterior(shapes, generator)
    copies = [planted(reference, spec, generator, noise=0.05)[0] for _ in range(3)]
    unrelated = [random_posterior(shapes, generator) for _ in range(3)]
    for runs, is_chance in ((copies, False), (unrelated, True)):
        found = align_many(runs, spec, restarts=1, generator=np.random.default_rng(0))
        chance = chance_of_universe(
            runs, spec, cost="w2", restarts=1, generator=np.random.default_rng(1)
        )
        total = sum(np.var([p.loc[n] for p in runs], axis=0).sum() for n in shapes)
        left = sum(np.var([p.loc[n] for p in found.posteriors], axis=0).sum() for n in shapes)
        assert found.relabelling_share == pytest.approx(1.0 - left / total)
        assert (found.relabelling_share <= chance.upper) == is_chance


def test_too_much_work_gives_no_answer_rather_than_a_wait(monkeypatch):
    monkeypatch.setattr("symdiag.alignment.chance._WORK", 1.0)
    spec, shapes = mlp_spec([3, 8, 1])
    draws = untrained(shapes, 4, np.random.default_rng(0))
    assert chance_of_draws(draws, spec, generator=np.random.default_rng(0)) is None
    runs = [random_posterior(shapes, np.random.default_rng(k)) for k in range(3)]
    generator = np.random.default_rng(0)
    assert chance_of_universe(runs, spec, cost="w2", generator=generator) is None
