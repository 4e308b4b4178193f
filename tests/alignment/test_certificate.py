"""Bounds never exceed the true optimum, margins are those of re-solved assignments, statuses mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from alignment_examples import every_state, mlp_spec, planted, random_posterior, residual_spec
from scipy.optimize import linear_sum_assignment

from symdiag.alignment import align, bounds, dual_ascent
from symdiag.alignment.assignment import build_assignment
from symdiag.alignment.bounds import split_bound, triangle_holds
from symdiag.alignment.certificate import assignment_margins
from symdiag.alignment.costs import get_cost
from symdiag.alignment.descent import Solver
from symdiag.alignment.dual_ascent import dual_ascent_bound, four_index_costs, reduce_assignments
from symdiag.alignment.search import Found, Start
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import Group, Member, PermutationSpec

CASES = [([2, 4, 4, 1], False), ([1, 3, 3, 1], True), ([1, 3, 3, 3, 1], False)]


def small_problem(widths, signed, cost, seed):
    generator = np.random.default_rng(seed)
    spec, shapes = mlp_spec(widths, signed=signed)
    return build_assignment(
        random_posterior(shapes, generator),
        random_posterior(shapes, generator),
        spec,
        get_cost(cost),
    )


@pytest.mark.parametrize("cost", ["w2", "kl", "hellinger", "mean"])
@pytest.mark.parametrize(("widths", "signed"), CASES)
def test_bounds_hold_against_exhaustive_search(widths, signed, cost):
    for seed in range(2):
        problem = small_problem(widths, signed, cost, seed)
        best = min(problem.distance(state) for state in every_state(problem))
        split = split_bound(Solver(problem))
        ascended = dual_ascent_bound(Solver(problem), best)
        assert 0.3 * best <= split <= best
        assert split - 1e-9 * best <= ascended <= best
        assert ascended >= 0.95 * best


@pytest.mark.parametrize("cost", ["w2", "kl"])
@pytest.mark.parametrize(("widths", "signed"), CASES)
def test_align_finds_the_exhaustive_optimum(widths, signed, cost):
    for seed in range(3):
        generator = np.random.default_rng(seed)
        spec, shapes = mlp_spec(widths, signed=signed)
        model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
        problem = build_assignment(model, reference, spec, get_cost(cost))
        best = min(problem.distance(state) for state in every_state(problem))
        found = align(model, reference, spec, cost=cost)
        assert found.certificate.distance == pytest.approx(best, rel=1e-9)
        assert found.certificate.lower_bound <= best * (1 + 1e-12)


def test_an_ascent_step_stays_on_the_simplex_and_moves_towards_the_dearer_axis():
    """Shares of each tensor's cost sum to one over its axes and are positive: else the bound is none."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        keys = [(block, axis) for block in range(3) for axis in range(block + 1)]
        weights = {key: 1.0 / (key[0] + 1) for key in keys}
        slopes = {key: float(generator.normal()) for key in keys}
        found = bounds._ascend(weights, slopes, float(generator.uniform(0.1, 1.0)))
        for block in range(3):
            shares = [found[key] for key in keys if key[0] == block]
            assert min(shares) > 0.0
            assert sum(shares) == pytest.approx(1.0)
        dearer = slopes[1, 0] > slopes[1, 1]
        assert (found[1, 0] > found[1, 1]) == dearer


def test_ascent_raises_the_split_bound_of_most_problems(monkeypatch):
    problems = [small_problem([2, 4, 4, 1], False, "w2", seed) for seed in range(10)]
    raised = [split_bound(Solver(p)) for p in problems]
    monkeypatch.setattr(bounds, "_STEPS", 1)
    first = [split_bound(Solver(p)) for p in problems]
    assert all(more >= one for more, one in zip(raised, first, strict=True))
    assert sum(more > one * (1.0 + 1e-6) for more, one in zip(raised, first, strict=True)) >= 5


def test_bounds_of_tied_and_recurrent_groups_hold_against_exhaustive_search():
    generator = np.random.default_rng(1)
    tied, tied_shapes = residual_spec(3, 3)
    members = (Member("ih", 0), Member("hh", 0), Member("hh", 1), Member("out", 1))
    recurrent = PermutationSpec((Group("state", 5, members, signed=True),))
    for spec, shapes in (
        (tied, tied_shapes),
        (recurrent, {"ih": (5, 1), "hh": (5, 5), "out": (1, 5)}),
    ):
        model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
        problem = build_assignment(model, reference, spec, get_cost("w2"))
        best = min(problem.distance(state) for state in every_state(problem))
        assert 0 < split_bound(Solver(problem)) <= best
        found = align(model, reference, spec)
        assert found.certificate.lower_bound <= best
        assert found.certificate.distance == pytest.approx(best, rel=1e-9)


def test_four_index_costs_add_up_to_the_distance():
    problem = small_problem([1, 3, 4, 1], True, "kl", 0)
    (block,) = [b for b in problem.blocks if len(b.axes) == 2]
    costs = four_index_costs(problem, block)
    generator = np.random.default_rng(0)
    for _ in range(5):
        state = tuple(Element.random(g, generator) for g in problem.groups)
        sign = [(e.signs < 0).astype(int) for e in state]
        total = sum(
            costs[sign[0][i], i, state[0].permutation[i], sign[1][k], k, state[1].permutation[k]]
            for i in range(costs.shape[1])
            for k in range(costs.shape[4])
        )
        assert total == pytest.approx(problem.block_distance(block, state), rel=1e-9)


@pytest.mark.parametrize("signs", [1, 2])
def test_reduced_assignments_are_feasible_and_tight(signs):
    costs = np.random.default_rng(0).standard_normal((20, signs, 7, 7))
    original = costs.copy()
    values = reduce_assignments(costs)
    for matrix, value in zip(original.min(axis=1), values, strict=True):
        assert value == pytest.approx(matrix[linear_sum_assignment(matrix)].sum(), abs=1e-12)
    assert costs.min() > -1e-12


def test_interpreted_and_compiled_duals_are_feasible_and_tight(monkeypatch):
    # the same functions without the compiler, so that its output is checked against plain Python
    costs = np.random.default_rng(1).standard_normal((4, 6, 6))
    compiled = dual_ascent.assignment_duals(costs)
    for name in ("_add_row", "_relax"):
        monkeypatch.setattr(dual_ascent, name, getattr(dual_ascent, name).py_func)
    u, v = dual_ascent.assignment_duals.py_func(costs)
    assert u == pytest.approx(compiled[0])
    assert v == pytest.approx(compiled[1])
    assert (costs - u[:, :, None] - v[:, None, :]).min() > -1e-12
    best = [c[linear_sum_assignment(c)].sum() for c in costs]
    assert u.sum(axis=1) + v.sum(axis=1) == pytest.approx(best)


def test_a_large_problem_is_left_to_the_split_bound():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([1, 60, 60, 1])
    model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
    problem = build_assignment(model, reference, spec, get_cost("w2"))
    assert dual_ascent_bound(Solver(problem), 1.0) is None


def forced_margin(costs, unit, match):
    forbidden = costs.copy()
    forbidden[unit, match] = 1e6
    return (
        forbidden[linear_sum_assignment(forbidden)].sum()
        - costs[linear_sum_assignment(costs)].sum()
    )


@pytest.mark.parametrize("size", [2, 5, 12])
def test_margins_equal_those_of_re_solved_assignments(size):
    generator = np.random.default_rng(size)
    costs = generator.standard_normal((size, size)) ** 2
    best = linear_sum_assignment(costs)[1]
    margins, exact = assignment_margins(costs[None], Element(best, np.ones(size)))
    assert exact
    assert margins == pytest.approx(
        [forced_margin(costs, i, best[i]) for i in range(size)], abs=1e-10
    )


def test_signed_margins_include_the_flip_of_the_unit_itself():
    both = np.array([[[1.0, 9.0], [9.0, 1.0]], [[1.5, 9.0], [9.0, 4.0]]])
    margins, _ = assignment_margins(both, Element.identity(2))
    assert margins.tolist() == [0.5, 3.0]


def test_margins_of_wide_groups_are_lower_bounds():
    generator = np.random.default_rng(0)
    costs = generator.standard_normal((700, 700)) ** 2
    best = linear_sum_assignment(costs)[1]
    margins, exact = assignment_margins(costs[None], Element(best, np.ones(700)))
    assert not exact
    for i in (0, 350, 699):
        assert margins[i] <= forced_margin(costs, i, best[i]) + 1e-9
    assert margins.max() > 0


def test_one_hidden_layer_is_optimal_by_assignment():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([3, 30, 2])
    found = align(
        random_posterior(shapes, generator), random_posterior(shapes, generator), spec
    ).certificate
    assert (found.status, found.method, found.gap) == ("optimal", "assignment", 0.0)
    assert found.statement.startswith("optimal")


def test_small_perturbations_are_proven_optimal_by_the_triangle_bound_alone():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([4, 100, 100, 2])  # too wide for the dual ascent
    reference = random_posterior(shapes, generator)
    model, _ = planted(reference, spec, generator, noise=1e-3)
    found = align(model, reference, spec, restarts=0).certificate
    assert (found.status, found.method) == ("optimal", "triangle")


def test_the_triangle_bound_does_not_fire_when_another_state_is_as_near():
    # two equal units: swapping them costs nothing, so nothing is proven by distance to the reference alone
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([2, 3, 3, 1])
    reference = random_posterior(shapes, generator)
    problem = build_assignment(reference, reference, spec, get_cost("w2"))
    assert triangle_holds(problem, 0.0)
    assert not triangle_holds(problem, 1e3)
    assert not triangle_holds(build_assignment(reference, reference, spec, get_cost("kl")), 0.0)


def test_wide_unrelated_nets_are_not_called_optimal():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([4, 100, 100, 2])
    model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
    found = align(model, reference, spec, restarts=0).certificate
    assert found.status == "bounded"
    assert 0 < found.lower_bound < found.distance
    assert "optimal up to" in found.statement
    unasked = align(model, reference, spec, restarts=0, certify=False).certificate
    assert unasked.status == "not-certified"
    assert "not certified" in unasked.statement


def test_equal_units_are_named_ambiguous():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([3, 6, 2])
    reference = random_posterior(shapes, generator)
    for arrays in (reference.loc, reference.scale):
        arrays["w1"][4], arrays["b1"][4], arrays["w2"][:, 4] = (
            arrays["w1"][1],
            arrays["b1"][1],
            arrays["w2"][:, 1],
        )
    model, _ = planted(reference, spec, generator)
    found = align(model, reference, spec)
    assert found.matches["h1"].ambiguous == (1, 4)
    assert found.matches["h1"].margins[[0, 2, 3, 5]].min() > 0.1


def test_a_function_that_no_permutation_connects_is_reported_different():
    # Git Re-Basin A.6: both nets separate the data, no permutation maps one to the other
    spec, shapes = mlp_spec([2, 2, 1])
    zeros = {n: np.zeros(s) for n, s in shapes.items()}
    model = Posterior(
        {**zeros, "w1": np.array([[-1.0, 0.0], [0.0, -1.0]]), "w2": np.array([[-1.0, -1.0]])}, zeros
    )
    reference = Posterior(
        {**zeros, "w1": np.array([[1.0, 0.0], [0.0, 1.0]]), "w2": np.array([[1.0, 1.0]])}, zeros
    )
    found = align(model, reference, spec)
    assert found.certificate.status == "optimal"
    assert found.certificate.distance > 1.0
    assert found.verdict() == "different"


def test_agreement_is_the_share_of_independent_starts_that_reach_the_best():
    def found(*starts):
        return Found((), min(s.distance for s in starts), starts)

    unmoved = Start("unmoved", 9.0)
    assert found(unmoved, Start("signature", 1.0), Start("identity", 2.0)).agreement == 0.5
    assert (
        found(unmoved, Start("signature", 1.0), Start("random", 1.0), Start("kick", 1.0)).agreement
        == 1.0
    )
    # a joint move went beyond all of them; single-precision polish does not count as disagreement
    assert found(unmoved, Start("signature", 1.0), Start("joint", 0.5)).agreement == 0.0
    assert found(unmoved, Start("signature", 1.0), Start("polish", 0.9999)).agreement == 1.0
    assert found(Start("unmoved", 0.0)).agreement == 1.0
