"""Expectations over draws: brackets, invariance, closed forms, quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from brute_force import mlp, one_draw, straddling_of
from scipy import integrate

from symdiag.estimators import estimate_straddling, infonce
from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.estimators.layerwise import chain_values, group_values
from symdiag.permanents import DEFAULT
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def to_torch(arrays):
    return {n: torch.from_numpy(np.asarray(v)) for n, v in arrays.items()}


def test_two_weight_net_agrees_with_quadrature():
    """The paper's two-weight net: |G| = 2, q a Gaussian over (w1, w2)."""
    mean, std = np.array([0.9, -0.2]), np.array([0.6, 0.4])
    posterior = Posterior({"w": mean}, {"w": std})
    spec = PermutationSpec((Group("h", 2, (Member("w", 0),)),))

    def energy(x, y):
        return 0.5 * ((x - mean[0]) / std[0]) ** 2 + 0.5 * ((y - mean[1]) / std[1]) ** 2

    def integrand(y, x):
        swapped = math.log1p(math.exp(energy(x, y) - energy(y, x)))
        return math.exp(-energy(x, y)) * swapped / (2 * math.pi * std[0] * std[1])

    expected, error = integrate.dblquad(integrand, -6, 6, -6, 6, epsabs=1e-9)
    assert error < 1e-7
    nodes, weights = np.polynomial.hermite_e.hermegauss(50)
    draws = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2) * std + mean
    mass = np.outer(weights, weights).ravel() / weights.sum() ** 2
    values = group_values(
        spec.groups[0], to_torch(posterior.loc), to_torch(posterior.scale), {"w": torch.from_numpy(draws)},
        generator=np.random.default_rng(0), effort=DEFAULT,
    )  # fmt: skip
    assert float(mass @ values.value) == pytest.approx(expected, abs=1e-6)
    estimate = estimate_straddling(posterior, spec, samples=1000, seed=1).total
    assert abs(estimate.value - expected) < 4 * estimate.std_error


def test_what_is_not_looked_at_does_not_count():
    """Of some tensors alone, the sum over a group is that of a net without the others; H can only be larger."""
    posterior, spec = mlp((2, 6, 1), seed=1, std=0.7)
    group, seen = spec.groups[0], ("l0.weight", "l0.bias")
    draws = to_torch(posterior.sample(np.random.default_rng(0), 200))
    loc, scale = to_torch(posterior.loc), to_torch(posterior.scale)
    members = tuple(m for m in group.members if m.tensor in seen)
    options = dict(generator=np.random.default_rng(0), effort=DEFAULT)
    part = group_values(group, loc, scale, draws, tensors=seen, **options)
    alone = group_values(Group("h", 6, members), loc, scale, draws, **options)
    whole = group_values(group, loc, scale, draws, **options)
    assert part.value == pytest.approx(alone.value, rel=1e-12)
    assert part.value.mean() > whole.value.mean() + 0.1


def test_information_and_entropy_add_up_to_log_order():
    posterior, spec = mlp((2, 6, 1), seed=1, std=0.7)
    result = estimate_straddling(posterior, spec, samples=64, seed=0)
    assert result.total.value + result.total_information.value == pytest.approx(
        math.lgamma(7), abs=1e-9
    )
    assert result.total_information.lower == pytest.approx(
        math.lgamma(7) - result.total.upper, abs=1e-9
    )
    (group,) = result.groups
    assert group.information.value == pytest.approx(math.lgamma(7) - group.entropy.value, abs=1e-9)
    assert group.information.upper == pytest.approx(math.lgamma(7) - group.entropy.lower, abs=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_relabelling_changes_nothing_with_the_same_draws(signed):
    posterior, spec = mlp((3, 5, 4, 2), seed=2, std=0.6, signed=signed)
    action = random_action(spec, np.random.default_rng(3))
    moved = posterior.replace(
        loc=act(spec, action, posterior.loc), scale=act(spec, action, posterior.scale, flip=False)
    )
    draws = posterior.sample(np.random.default_rng(4), 8)
    moved_draws = [act(spec, action, {n: v[s] for n, v in draws.items()}) for s in range(8)]
    stacked = {n: np.stack([d[n] for d in moved_draws]) for n in draws}
    for group in spec:
        before, after = (
            group_values(
                group,
                to_torch(p.loc),
                to_torch(p.scale),
                to_torch(d),
                generator=np.random.default_rng(0),
                effort=DEFAULT,
            ).value
            for p, d in ((posterior, draws), (moved, stacked))
        )
        np.testing.assert_allclose(after, before, atol=1e-9)


def test_groups_without_common_tensors_add_exactly():
    """Two independent hidden groups (each touching its own tensors): H_G = H_1 + H_2 per draw."""
    first, second = mlp((2, 3, 1), seed=1), mlp((1, 3, 2), seed=2)
    rename = lambda d: {f"b.{n}": v for n, v in d.items()}  # noqa: E731
    posterior = Posterior(
        {**first[0].loc, **rename(second[0].loc)}, {**first[0].scale, **rename(second[0].scale)}
    )
    other = second[1].groups[0]
    renamed = Group(
        "other", other.width, tuple(Member(f"b.{m.tensor}", m.axis) for m in other.members)
    )
    spec = PermutationSpec((*first[1].groups, renamed))
    draw = one_draw(posterior, 3)
    alone = [straddling_of(posterior, PermutationSpec((g,)), draw) for g in spec]
    assert straddling_of(posterior, spec, draw) == pytest.approx(sum(alone), abs=1e-9)
    result = estimate_straddling(posterior, spec, samples=50, seed=0)
    assert result.total.interval == "exact"
    assert result.total.value == pytest.approx(
        sum(g.entropy.value for g in result.groups), abs=1e-9
    )


def test_last_group_of_a_chain_keeps_all_its_tensors():
    """In any order the last term of the coupling bound is that group's own entropy."""
    posterior, spec = mlp((2, 3, 3, 1), seed=4)
    estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
    draws = estimator.draws(np.random.default_rng(0), 5)
    known = estimator.evaluate(draws, np.random.default_rng(0), certify=True).groups
    zero = {name: v.__class__.of_exact(np.zeros(5), "zero") for name, v in known.items()}

    def values(group, draws, tensors):
        return estimator.one_group(group, draws, np.random.default_rng(0), True, tensors)

    def chain(known):
        return chain_values(spec.groups, known, draws, values).value

    np.testing.assert_allclose(chain(known) - chain(zero), known["l1"].value, atol=1e-12)


@pytest.mark.parametrize("num_elements", [5, 20])
def test_infonce_never_exceeds_log_k_and_stays_below_the_truth(num_elements):
    posterior, spec = mlp((2, 6, 1), seed=1, spread=5.0, std=0.1)
    rng = np.random.default_rng(0)
    estimate = infonce(posterior, spec, num_elements=num_elements, samples=50, generator=rng)
    assert estimate.value <= math.log(num_elements) + 1e-12
    assert estimate.value == pytest.approx(
        math.log(num_elements), abs=0.05
    )  # separated: at its ceiling
    truth = estimate_straddling(posterior, spec, samples=50).total_information
    assert truth.value == pytest.approx(math.lgamma(7), abs=1e-6)


def test_trivial_group_has_no_entropy():
    result = estimate_straddling(mlp((2, 3, 1), seed=0)[0], PermutationSpec(()))
    assert result.total.value == result.total.upper == 0.0


def test_single_draw_has_no_standard_error_and_an_uninformative_interval():
    posterior, spec = mlp((2, 4, 1), seed=0, spread=0.1)
    total = estimate_straddling(posterior, spec, samples=1).total
    assert total.std_error is None
    assert (total.lower, total.upper) == (0.0, pytest.approx(math.lgamma(5)))


def test_same_seed_same_numbers_and_other_seed_others():
    posterior, spec = mlp((2, 5, 4, 1), seed=0)
    first, again = (estimate_straddling(posterior, spec, samples=20, seed=3) for _ in range(2))
    assert first == again
    assert estimate_straddling(posterior, spec, samples=20, seed=4).total.value != first.total.value


def test_precision_and_budget_decide_the_number_of_draws():
    posterior, spec = mlp((2, 5, 1), seed=0, std=0.8)
    loose = estimate_straddling(posterior, spec, precision=0.5)
    tight = estimate_straddling(posterior, spec, precision=0.05)
    assert tight.samples > loose.samples
    assert 2 * tight.total.std_error < 0.07
    assert not any("precision" in note for note in (*loose.notes, *tight.notes))
    poor = estimate_straddling(posterior, spec, precision=0.001, budget=0.02)
    assert any("precision" in note for note in poor.notes)


def test_a_group_that_shows_in_no_tensor_of_its_own_costs_its_whole_order():
    """One matrix, both axes permuted, all entries alike: H_G = log 3! + log 2!, and the bound attains it."""
    loc, scale = {"w": np.full((3, 2), 0.4)}, {"w": np.full((3, 2), 0.7)}
    groups = (Group("a", 3, (Member("w", 0),)), Group("b", 2, (Member("w", 1),)))
    posterior, spec = Posterior(loc, scale), PermutationSpec(groups)
    draw = one_draw(posterior, 0)
    truth = math.log(6) + math.log(2)
    assert straddling_of(posterior, spec, draw) == pytest.approx(truth, abs=1e-9)
    estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
    draws = estimator.tensors({"w": draw["w"][None]})
    rng = np.random.default_rng(0)
    known = estimator.evaluate(draws, rng, certify=True).groups

    def values(group, draws, tensors):
        return estimator.one_group(group, draws, rng, True, tensors)

    for order in (groups, groups[::-1]):
        found = chain_values(order, known, draws, values)
        assert found.value[0] == pytest.approx(truth, abs=1e-9)


def test_as_many_draws_are_taken_as_the_value_calls_for():
    """Whatever precision and budget say; the draws before are kept."""
    posterior, spec = mlp((2, 6, 1), seed=1, std=0.7)
    whole = estimate_straddling(posterior, spec, samples=4000, seed=2).total
    asked = []

    def least(value):
        asked.append(value)
        return 300

    found = estimate_straddling(posterior, spec, seed=0, precision=1.0, least=least).total
    assert found.samples == 300
    assert asked == [pytest.approx(whole.value, abs=1.5)]
    assert abs(found.value - whole.value) < 4 * math.hypot(found.std_error, whole.std_error)
    enough = estimate_straddling(
        posterior, spec, seed=0, precision=1.0, least=lambda value: 1
    ).total
    assert 1 < enough.samples < 300
