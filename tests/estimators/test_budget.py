"""How many draws a nominal budget buys: each rule at its edges, and the cost model's proportions."""

import dataclasses
import math

import pytest
from brute_force import mlp

from symdiag.estimators import budget
from symdiag.estimators.budget import Allocation
from symdiag.permanents import DEFAULT, Effort, sampling_steps


@pytest.mark.parametrize(
    ("value", "precision", "aim"), [(0.0, None, 0.05), (-30.0, None, 0.35), (30.0, 0.2, 0.2)]
)
def test_the_half_width_aimed_at(value, precision, aim):
    assert budget.target(value, precision) == pytest.approx(aim)


def test_pilots_take_half_of_the_budget_within_limits():
    assert budget.pilot_draws(0.01, 2.0) == 100
    assert budget.pilot_draws(1e-9, 2.0) == budget.PILOT_DRAWS
    assert budget.pilot_draws(0.0, 2.0) == budget.PILOT_DRAWS
    assert budget.pilot_draws(100.0, 2.0) == budget.MIN_DRAWS


def test_further_draws_bring_two_standard_errors_to_the_target():
    """2 std/√S = target at S = (2·3/0.5)² = 144, of which 100 are there."""
    assert budget.further_draws(3.0, 0.0, 100, 1e-6, 5.0, 0.5) == 44
    assert budget.further_draws(3.0, 0.0, 144, 1e-6, 5.0, 0.5) == 0
    assert budget.further_draws(3.0, 0.0, 500, 1e-6, 5.0, 0.5) == 0
    # affordable: 5 s less 100 draws at 0.04 s leave 25
    assert budget.further_draws(3.0, 0.0, 100, 0.04, 5.0, 0.5) == 25
    assert budget.further_draws(3.0, 0.0, 100, 1.0, 5.0, 0.5) == 0
    assert budget.further_draws(1e6, 0.0, 96, 1e-9, 5.0, 0.5) == budget.MAX_DRAWS - 96


def test_a_target_is_reached_up_to_a_tenth():
    assert budget.reached(1.0, 0.0, 16, 0.5)  # 2/√16 = 0.5
    assert budget.reached(1.09, 0.0, 16, 0.5)
    assert not budget.reached(1.11, 0.0, 16, 0.5)
    assert not budget.reached(1.0, 0.0, 12, 0.5)
    assert budget.reached(1.0, 45.0, 16, None)  # 0.05 + 1 % of 45


def test_certified_draws_fit_a_quarter_of_the_budget():
    assert budget.certified_draws(0.1, 4.0, 50) == 10
    assert budget.certified_draws(0.1, 4.0, 7) == 7
    assert budget.certified_draws(0.0, 4.0, 7) == 7
    assert budget.certified_draws(0.5, 4.0, 50) == 2
    assert budget.certified_draws(0.6, 4.0, 50) == 0  # one draw says nothing of the spread


def test_joint_draws_fit_half_of_the_budget():
    assert budget.joint_draws(0.1, 4.0) == 20
    assert budget.joint_draws(1e-3, 4.0) == 64
    assert budget.joint_draws(1e-3, 4.0, 10) == 10
    assert budget.joint_draws(2.0 / 3.0, 4.0) == 3
    assert budget.joint_draws(0.7, 4.0) == 0


def test_coupling_draws_fit_half_of_the_budget_but_are_at_least_four():
    assert budget.chain_draws(0.1, 4.0, 50) == 20
    assert budget.chain_draws(0.1, 4.0, 10) == 10
    assert budget.chain_draws(1e-4, 4.0, 500) == 64
    assert budget.chain_draws(0.0, 4.0, 500) == 64
    assert budget.chain_draws(100.0, 4.0, 50) == budget.MIN_DRAWS


def test_what_an_allocation_has_left():
    assert Allocation(10, 5, 2).after(4) == Allocation(6, 1, 0)


def test_effort_drops_where_layers_are_wide():
    spec = mlp((2, 3, 4, 1), seed=0)[1]
    assert budget.effort_for(spec) == DEFAULT
    wide = dataclasses.replace(spec.groups[0], width=257)
    other = dataclasses.replace(spec, groups=(wide, spec.groups[1]))
    assert budget.effort_for(other) == dataclasses.replace(DEFAULT, particles=64, runs=2)


def test_costs_grow_as_the_work_does():
    """Per unit 2 inputs, a bias and 4 outgoing weights; signs double the products of a matrix."""
    posterior, spec = mlp((2, 3, 4, 1), seed=0)
    first, second = spec.groups
    assert budget.block_size(posterior, first) == 2 + 1 + 4
    assert budget.block_size(posterior, second) == 3 + 1 + 1
    parameters = 3 * 2 + 3 + 4 * 3 + 4 + 4 + 1
    products = 2 * 9 * 7 + 2 * 16 * 5
    cubes = 27 + 64
    expected = 2e-8 * parameters + 1e-10 * products + 3e-10 * cubes
    assert budget.draw_cost(posterior, spec) == pytest.approx(expected)
    signed = dataclasses.replace(
        spec, groups=tuple(dataclasses.replace(g, signed=True) for g in spec)
    )
    assert budget.draw_cost(posterior, signed) == pytest.approx(expected + 1e-10 * products)
    both = budget.sandwich_cost(posterior, spec, 64) - budget.sandwich_cost(posterior, spec, 0)
    matrices = 1e-10 * products + 3e-10 * cubes
    assert both == pytest.approx(64 * (2 * 8e-4 + matrices))
    assert budget.sandwich_cost(posterior, spec, 0) == pytest.approx(18 * (matrices + 2 * 2e-4))
    assert budget.decoding_cost(posterior, spec) == pytest.approx(12 * matrices)


def test_operations_are_those_of_the_method_each_width_gets():
    _, spec = mlp((2, 3, 4, 1), seed=0)
    exact = budget.guessed_operations(spec, Effort(max_exact=4))
    assert exact == 3 * (3 * 2**3 + 4 * 2**4)
    mixed = budget.guessed_operations(spec, Effort(max_exact=3))
    assert mixed == 3 * 3 * 2**3 + sampling_steps(4, Effort())
    assert budget.seconds(2e9) == pytest.approx(2.0)
    assert budget.certify_cost(spec, 3) == pytest.approx(3e-9 * 64)
    assert budget.certify_cost(spec, 4) == 0.0
    steps = sampling_steps(100, Effort(particles=10, runs=6))
    assert steps == pytest.approx(8 * (100**2 * 10 + 1.5e6))
    assert math.isfinite(steps)
