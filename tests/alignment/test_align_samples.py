"""Draws of a known Gaussian, relabelled at random, are brought back; what was not relabelled stays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from alignment_examples import mlp_spec, tanh_mlp

from symdiag.alignment.costs import Weights
from symdiag.alignment.draws import LogDensity, Running, fitted, make_pool
from symdiag.alignment.samples import align_samples, relabelled
from symdiag.alignment.switching import Rhat, centred, split_rhat, switching, two_mode_share
from symdiag.errors import UsageError
from symdiag.symmetry.elements import Element, act, random_action


def gaussian_draws(widths, count, std, generator, signed=False):
    spec, shapes = mlp_spec(widths, signed=signed)
    loc = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    return spec, {n: m + std * generator.standard_normal((count, *m.shape)) for n, m in loc.items()}


def planted(draws, spec, fraction, generator):
    """The draws with exactly ``fraction`` of them moved by random actions other than the identity."""
    count = len(next(iter(draws.values())))
    chosen = generator.permutation(count)[: round(fraction * count)]
    identity = {g.name: Element.identity(g.width) for g in spec}
    actions = [identity] * count
    for s in chosen:
        while all(e.is_identity for e in actions[s].values()):
            actions[s] = random_action(spec, generator)
    return relabelled(draws, spec, actions), actions


CASES = [
    ((3, 6, 2), False, 0.4, 0.1),
    ((3, 6, 2), True, 0.4, 0.1),
    ((3, 6, 2), True, 0.9, 0.1),  # hardly any draw left in the majority labelling
    ((2, 20, 1), True, 0.3, 0.03),
    ((2, 6, 5, 1), False, 0.4, 0.1),
    ((2, 6, 5, 1), True, 0.4, 0.1),
    ((2, 5, 4, 5, 1), True, 0.3, 0.05),
]


@pytest.mark.parametrize(("widths", "signed", "fraction", "std"), CASES)
def test_planted_relabelling_is_undone_exactly(widths, signed, fraction, std):
    generator = np.random.default_rng(1)
    spec, draws = gaussian_draws(widths, 60, std, generator, signed)
    moved, actions = planted(draws, spec, fraction, generator)
    found = align_samples(moved, spec, starts=2)
    for name, values in draws.items():
        np.testing.assert_array_equal(found.draws[name], values)
    for action, undone in zip(actions, found.actions, strict=True):
        assert all(action[g.name].compose(undone[g.name]).is_identity for g in spec)
    counted = switching(found.actions, spec)
    assert counted.off == pytest.approx(fraction)
    assert counted.labellings == round(fraction * 60) + 1
    for group, planted_group in zip(counted.groups, spec, strict=True):
        elements = [a[planted_group.name].inverse() for a in actions]
        moved_by = np.array([e.permutation != np.arange(planted_group.width) for e in elements])
        np.testing.assert_allclose(group.units_moved, moved_by.mean(axis=0))
        flipped = np.array([e.signs < 0 for e in elements]) & ~moved_by
        np.testing.assert_allclose(group.units_flipped, flipped.mean(axis=0))
        assert group.off == pytest.approx(np.mean([not e.is_identity for e in elements]))


@pytest.mark.parametrize("signed", [False, True])
def test_draws_of_one_separated_mode_show_no_switching(signed):
    spec, draws = gaussian_draws((3, 8, 6, 2), 40, 0.1, np.random.default_rng(2), signed)
    found = align_samples(draws, spec, starts=2)
    assert switching(found.actions, spec).off == 0.0
    assert found.agreement == 1.0
    assert found.converged


def test_alignment_changes_no_function():
    generator = np.random.default_rng(3)
    spec, draws = gaussian_draws((2, 6, 5, 1), 12, 1.0, generator, signed=True)
    found = align_samples(draws, spec, starts=1)
    inputs = generator.standard_normal((20, 2))
    for s in range(12):
        before, after = (
            tanh_mlp({n: v[s] for n, v in w.items()}, inputs, 3) for w in (draws, found.draws)
        )
        np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)


def test_two_functions_stay_two_after_alignment():
    generator = np.random.default_rng(4)
    spec, first = gaussian_draws((3, 6, 2), 30, 0.1, generator)
    _, second = gaussian_draws((3, 6, 2), 30, 0.1, generator)
    both = {name: np.concatenate([values, second[name]]) for name, values in first.items()}
    moved, _ = planted(both, spec, 0.7, generator)
    found = align_samples(moved, spec)
    within = sum(values.var(axis=0).sum() for values in first.values())
    assert sum(values.var(axis=0).sum() for values in found.draws.values()) > 20 * within
    assert two_mode_share(found.draws) > 0.95
    for half in (slice(0, 30), slice(30, 60)):  # but each of the two is in one labelling
        apart = sum(values[half].var(axis=0).sum() for values in found.draws.values())
        truth = sum(values[half].var(axis=0).sum() for values in both.values())
        assert apart == pytest.approx(truth, rel=1e-9)


def test_the_assignment_is_the_likeliest_of_all():
    generator = np.random.default_rng(5)
    spec, draws = gaussian_draws((2, 4, 1), 25, 0.7, generator, signed=True)
    found = align_samples(draws, spec)
    pool = make_pool(found.draws, spec)
    states = [pool.problems[0].identity()] * 25
    reference, _ = fitted(pool, states)
    (group,) = spec
    elements = [
        Element(np.array(p), np.array(s))
        for p in itertools.permutations(range(4))
        for s in itertools.product([-1.0, 1.0], repeat=4)
    ]
    std = {b.tensor: w.scale for b, w in zip(pool.problems[0].blocks, reference, strict=True)}
    mean = {b.tensor: w.loc for b, w in zip(pool.problems[0].blocks, reference, strict=True)}
    for s in range(25):
        here = {n: v[s] for n, v in found.draws.items()}
        costs = []
        for element in elements:
            moved = act(spec, {group.name: element}, here)
            forward = {"w1": moved["w1"], "b1": moved["b1"][:, None], "w2": moved["w2"].T}
            costs.append(sum(0.5 * (((forward[n] - mean[n]) / std[n]) ** 2).sum() for n in mean))
        stay = costs[next(i for i, e in enumerate(elements) if e.is_identity)]
        assert stay <= min(costs) + 1e-9


def test_pairwise_costs_are_sums_of_elementwise_ones_and_never_below_unordered():
    generator = np.random.default_rng(6)
    model = Weights(generator.standard_normal((5, 6)) + 30.0, None)
    reference = Weights(
        generator.standard_normal((5, 6)) + 30.0, np.exp(generator.standard_normal((5, 6)))
    )
    cost = LogDensity()
    both = cost.pairwise(model, reference)
    for i, j in itertools.product(range(5), range(5)):
        one = cost.elementwise(
            Weights(model.loc[j], None),
            Weights(reference.loc[i], reference.scale[i]),  # type: ignore[index]
        )
        assert both[i, j] == pytest.approx(one.sum(), rel=1e-9)
    blocks = [Weights(w.loc.reshape(5, 3, 2), w.scale if w.scale is None else w.scale.reshape(5, 3, 2))
              for w in (model, reference)]  # fmt: skip
    lower = cost.unordered(*blocks)
    for order in itertools.permutations(range(3)):
        shuffled = Weights(blocks[0].loc[:, list(order)].reshape(5, 6), None)
        assert (lower <= cost.pairwise(shuffled, reference) + 1e-9).all()


def test_running_moments_are_those_of_numpy():
    generator = np.random.default_rng(7)
    draws = 1e6 + generator.standard_normal((9, 4, 3))
    moments = Running([draws[0]])
    for draw in draws:
        moments.add([draw])
    np.testing.assert_allclose(moments.squares()[0], 9 * draws.var(axis=0), rtol=1e-6)
    (found,) = moments.reference([2.0])
    np.testing.assert_allclose(found.loc, draws.mean(axis=0))
    np.testing.assert_allclose(found.scale**2, (9 * draws.var(axis=0) + 4 * 2.0) / 13, rtol=1e-6)


def test_one_draw_and_constant_draws_are_left_alone():
    spec, draws = gaussian_draws((2, 4, 1), 1, 1.0, np.random.default_rng(8))
    alone = align_samples(draws, spec)
    np.testing.assert_array_equal(alone.draws["w1"], draws["w1"])
    zeros = {name: np.zeros((5, *values.shape[1:])) for name, values in draws.items()}
    assert switching(align_samples(zeros, spec).actions, spec).off == 0.0
    repeated = {name: np.repeat(values, 5, axis=0) for name, values in draws.items()}
    moved, _ = planted(repeated, spec, 0.4, np.random.default_rng(0))
    np.testing.assert_array_equal(align_samples(moved, spec).draws["w1"], repeated["w1"])


def test_impossible_calls_are_refused():
    spec, draws = gaussian_draws((2, 4, 1), 3, 1.0, np.random.default_rng(8))
    with pytest.raises(UsageError) as error:
        align_samples(draws, spec, starts=0)
    assert error.value.code == "bad-option"
    wrong, _ = mlp_spec((2, 5, 1))
    with pytest.raises(UsageError) as error:
        align_samples(draws, wrong)
    assert error.value.code == "spec-mismatch"


def test_the_same_generator_gives_the_same_result():
    generator = np.random.default_rng(9)
    spec, draws = gaussian_draws((2, 6, 5, 1), 20, 1.0, generator, signed=True)
    first, again = (
        align_samples(draws, spec, starts=2, generator=np.random.default_rng(3)) for _ in range(2)
    )
    assert first.score == again.score
    assert all((first.draws[n] == again.draws[n]).all() for n in draws)


def test_centring_makes_the_majority_the_identity():
    swap = Element(np.array([1, 0, 2]), np.array([1.0, -1.0, 1.0]))
    turn = Element(np.array([1, 2, 0]), np.ones(3))
    actions = centred([{"h": e} for e in (turn, swap, swap)])
    assert [a["h"].is_identity for a in actions] == [False, True, True]


def test_split_rhat_is_that_of_the_textbook():
    generator = np.random.default_rng(10)
    draws = generator.standard_normal((3, 20)) + np.array([0.0, 0.5, 3.0])[:, None]
    halves = draws.reshape(6, 10)
    within = np.mean([h.var(ddof=1) for h in halves])
    between = 10 * np.var([h.mean() for h in halves], ddof=1)
    truth = np.sqrt((9 / 10 * within + between / 10) / within)
    found = split_rhat({"w": draws.reshape(60, 1), "fixed": np.ones((60, 2))}, 3)
    assert found is not None
    assert found == Rhat(pytest.approx(truth), pytest.approx(truth), 1.0)
    assert split_rhat({"w": draws.reshape(60, 1)}, 20) is None
    assert split_rhat({"w": np.ones((60, 1))}, 3) is None


def test_two_mode_share_of_known_shapes():
    generator = np.random.default_rng(11)
    normal = {"w": generator.standard_normal((1500, 1))}
    assert two_mode_share(normal) == pytest.approx(2 / np.pi, abs=0.03)
    assert two_mode_share({"w": generator.uniform(size=(1500, 1))}) == pytest.approx(0.75, abs=0.03)
    clusters = {
        "w": np.repeat([-5.0, 5.0], 50)[:, None] + 0.01 * generator.standard_normal((100, 1))
    }
    assert two_mode_share(clusters) > 0.999
    tall, wide = (np.hstack([clusters["w"], generator.standard_normal((100, d))]) for d in (3, 300))
    wide[:, 1:200] += clusters["w"]
    assert 0.6 < two_mode_share({"w": tall}) < 0.999
    assert two_mode_share({"w": wide}) > 0.9
    assert two_mode_share({"w": np.ones((50, 1))}) is None
    assert two_mode_share({"w": generator.standard_normal((19, 1))}) is None


def test_a_weight_that_never_varies_says_nothing_whatever_rounding_its_mean_has():
    """Twenty times 0.1 has a mean other than 0.1: a variance that is not 0, and no spread."""
    fixed = {"w": np.full((20, 3), 0.1), "v": np.full((20, 2), 1.7)}
    assert two_mode_share(fixed) is None
    assert split_rhat(fixed, 2) is None
    varying = {"u": np.random.default_rng(5).normal(size=(20, 2))}
    assert two_mode_share({**varying, **fixed}) == pytest.approx(two_mode_share(varying))
    assert split_rhat({**varying, **fixed}, 2) == split_rhat(varying, 2)
