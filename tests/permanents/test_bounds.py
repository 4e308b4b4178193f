"""Every deterministic bound of the room against exact values: violated once is a bug.

A new file in ``permanents/bounds/`` is picked up here with nothing else edited.
"""

import math
import sys
import textwrap

import numpy as np
import pytest
from permanent_cases import REGIMES, gaussian, regime, ryser

from symdiag.errors import ContradictionError
from symdiag.permanents import Effort, bounds, log_permanent
from symdiag.permanents.blocks import neg_logdet, pair_weights, split
from symdiag.permanents.bounds import Bound, ScaledMatrix, all_bounds, certified, tightest
from symdiag.permanents.bounds.bethe import bethe_functional, bethe_lower
from symdiag.permanents.bounds.entropy import arrival_bound, closed_form, entropy_upper
from symdiag.permanents.bounds.macmahon import macmahon_upper
from symdiag.permanents.bounds.van_der_waerden import van_der_waerden_lower
from symdiag.permanents.doubly_stochastic import round_to_doubly_stochastic, sinkhorn
from symdiag.permanents.exact import exact_log_permanent
from symdiag.permanents.results import Ends
from symdiag.permanents.scaling import dual_scale

BOUNDS = {bound.name: bound for bound in all_bounds()}


def _cases(name, count, sizes=(2, 9)):
    rng = np.random.default_rng([7, REGIMES.index(name)])
    for _ in range(count):
        matrix = regime(name, int(rng.integers(*sizes)), rng)
        scaled = dual_scale(matrix)
        if math.isfinite(scaled.offset):
            exact = exact_log_permanent(matrix[None])[0] - scaled.offset
            yield rng, scaled.log_scaled, exact, 1e-10 + 1e-14 * abs(scaled.offset)


def test_each_file_of_the_room_holds_one_named_bound():
    assert len(BOUNDS) == len(all_bounds()) >= 7
    for bound in BOUNDS.values():
        assert bound.stages
        assert set(bound.stages) <= {"whole", "first", "refined"}
        assert len(bound.when) > 10


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("bound", BOUNDS)
def test_bound_holds_against_exact_values(bound, name):
    bound = BOUNDS[bound]
    for _, log_scaled, exact, tolerance in _cases(name, 120):
        matrix = ScaledMatrix(log_scaled, small=3)
        if not bound.applies(matrix):
            continue
        for stage in bound.stages:
            lower, upper = bound.evaluate(matrix, stage)
            assert lower <= exact + tolerance
            assert upper >= exact - tolerance


@pytest.mark.parametrize("bound", BOUNDS)
def test_bound_holds_against_rational_arithmetic(bound):
    """Integer matrices, exact permanents by Ryser's formula over the rationals."""
    bound = BOUNDS[bound]
    rng = np.random.default_rng(11)
    for n in (3, 5, 8, 10):
        for high in (2, 50):
            integers = rng.integers(0, high, size=(n, n)) + 1
            integers += 40 * np.eye(n, dtype=int) if n == 5 else 0
            scaled = dual_scale(np.log(integers.astype(float)))
            exact = math.log(ryser(integers)) - scaled.offset
            matrix = ScaledMatrix(scaled.log_scaled, small=3)
            for stage in bound.stages if bound.applies(matrix) else ():
                lower, upper = bound.evaluate(matrix, stage)
                assert lower <= exact + 1e-10
                assert upper >= exact - 1e-10


@pytest.mark.parametrize("name", REGIMES)
def test_bounds_hold_at_any_doubly_stochastic_matrix_and_any_cut(name):
    """What the room evaluates at its own choices holds for every choice."""
    for rng, log_scaled, exact, tolerance in _cases(name, 60):
        n = len(log_scaled)
        guess = rng.random((n, n)) + 1e-3
        doubly = round_to_doubly_stochastic(sinkhorn(guess, sweeps=200).weights)
        assert van_der_waerden_lower(log_scaled, doubly) <= exact + tolerance
        assert bethe_lower(log_scaled, doubly) <= exact + tolerance
        assert entropy_upper(log_scaled, guess, sweeps=1, refine=0) >= exact - tolerance
        assert entropy_upper(log_scaled, guess, sweeps=1, refine=1) >= exact - tolerance
        for threshold in (-1.0, -6.0):
            cut = split(log_scaled, pair_weights(log_scaled), threshold)
            value = sum(exact_log_permanent(log_scaled[np.ix_(b, b)][None])[0] for b in cut.blocks)
            assert value - tolerance <= exact <= value + cut.loss + tolerance


@pytest.mark.parametrize("name", REGIMES)
def test_planner_bounds_hold(name):
    rng = np.random.default_rng([8, REGIMES.index(name)])
    matrices = [regime(name, 7, rng) for _ in range(40)]
    exact = exact_log_permanent(np.array(matrices))
    effort = Effort(max_exact=2, particles=8, runs=2)
    result = log_permanent(np.array(matrices), generator=rng, effort=effort)
    tolerance = 1e-9 + 1e-14 * np.abs(np.where(np.isfinite(exact), exact, 0.0))
    assert (result.certified_lower <= exact + tolerance).all()
    assert (result.certified_upper >= exact - tolerance).all()
    claimed = result.exact & np.isfinite(exact)
    assert (np.abs(result.value[claimed] - exact[claimed]) <= 1e-6).all()


def test_a_bound_that_contradicts_another_is_an_internal_error(monkeypatch):
    """No clamp: an upper end below a lower one stops the estimate."""
    wrong = Bound("wrong", ("first", "whole"), "never", lambda matrix, stage: Ends(upper=-1.0))
    monkeypatch.setattr(bounds, "all_bounds", lambda: (*BOUNDS.values(), wrong))
    matrix = gaussian(24, 5, 0.3, np.random.default_rng(0))
    with pytest.raises(ContradictionError, match="wrong"):
        tightest(ScaledMatrix(dual_scale(matrix).log_scaled), "first")
    with pytest.raises(ContradictionError, match="wrong"):
        log_permanent(matrix, generator=np.random.default_rng(1))


def test_a_new_file_in_the_room_is_all_it_takes(tmp_path, monkeypatch):
    """The planner's certified ends become those of a (perfect) bound that only lies in the folder."""
    source = """
        from symdiag.permanents.bounds import Bound
        from symdiag.permanents.exact import exact_log_permanent
        from symdiag.permanents.results import Ends

        def _evaluate(matrix, stage):
            value = exact_log_permanent(matrix.log_weights[None])[0]
            return Ends(value - 1e-9, value + 1e-9)

        BOUND = Bound("oracle", ("first",), "wherever one is at hand", _evaluate)
    """
    (tmp_path / "oracle.py").write_text(textwrap.dedent(source))
    monkeypatch.setattr(bounds, "__path__", [*bounds.__path__, str(tmp_path)])
    bounds.all_bounds.cache_clear()
    try:
        assert "oracle" in {bound.name for bound in bounds.all_bounds()}
        matrix = gaussian(9, 10, 0.5, np.random.default_rng(0))
        found = log_permanent(
            matrix, generator=np.random.default_rng(1), effort=Effort(max_exact=2)
        )
        assert found.method == ("smc",)
        assert found.certified_upper[0] - found.certified_lower[0] <= 3e-9
    finally:
        bounds.all_bounds.cache_clear()
        sys.modules.pop("symdiag.permanents.bounds.oracle", None)


def test_bounds_are_tight_where_theory_says_so():
    flat = ScaledMatrix(np.zeros((12, 12)))
    allowed = {"van-der-waerden": 1e-7, "rank-one": 1e-7, "best-permutation": 1e-7, "entropy": 0.5}
    for name, most in allowed.items():
        ends = [BOUNDS[name].evaluate(flat, stage) for stage in BOUNDS[name].stages]
        closest = min(
            min(abs(e.lower - math.lgamma(13)), abs(e.upper - math.lgamma(13))) for e in ends
        )
        assert closest <= most, name
    near = np.full((9, 9), -7.0)
    np.fill_diagonal(near, 0.0)
    exact = exact_log_permanent(near[None])[0]
    assert exact <= macmahon_upper(near) <= exact * 1.01
    blocks = np.full((6, 6), -40.0)
    for k in (0, 3):
        blocks[k : k + 3, k : k + 3] = -np.abs(np.random.default_rng(k).normal(size=(3, 3)))
    np.fill_diagonal(blocks, 0.0)
    ends = BOUNDS["block-product"].evaluate(ScaledMatrix(blocks, small=3), "whole")
    assert ends.upper - ends.lower <= 1e-12
    two = np.log(np.array([[0.6, 0.4], [0.3, 0.9]]))
    exact = math.log(0.6 * 0.9 + 0.4 * 0.3)
    assert exact <= entropy_upper(two, np.exp(two), sweeps=20, refine=20) <= exact + 1e-2
    best = max(
        bethe_lower(two, np.array([[p, 1 - p], [1 - p, p]])) for p in np.linspace(0.01, 0.99, 99)
    )
    assert exact - math.log(2) <= best <= exact  # perm <= sqrt(2)^n times the Bethe permanent


@pytest.mark.parametrize("spread", [0.1, 0.4, 0.8])
def test_bethe_at_belief_propagation_is_within_its_known_factor(spread):
    """perm <= sqrt(2)^n perm_B (Anari and Rezaei 2019), and BP improves on Sinkhorn's P."""
    matrix = ScaledMatrix(dual_scale(gaussian(14, 10, spread, np.random.default_rng(3))).log_scaled)
    exact = exact_log_permanent(matrix.log_weights[None])[0]
    first, refined = (
        BOUNDS["bethe"].evaluate(matrix, stage).lower for stage in ("first", "refined")
    )
    assert exact - 7 * math.log(2) <= refined <= exact
    assert refined >= first


def test_bethe_functional_is_the_bound_without_its_slack():
    rng = np.random.default_rng(4)
    matrices = rng.normal(size=(3, 7, 7))
    shares = np.array([round_to_doubly_stochastic(sinkhorn(np.exp(m)).weights) for m in matrices])
    certified_ends = [bethe_lower(m, p) for m, p in zip(matrices, shares, strict=True)]
    found = bethe_functional(matrices, shares)
    terms = shares * (matrices - np.log(shares)) + (1 - shares) * np.log1p(-shares)
    np.testing.assert_allclose(found, terms.sum((1, 2)), rtol=1e-12)
    assert (found - certified_ends >= 0).all()
    assert (found - certified_ends <= 1e-10).all()
    assert (found <= exact_log_permanent(matrices)).all()


def test_arrival_functional_dominates_enumeration_and_improves_on_jensen():
    rng = np.random.default_rng(0)
    for sharp in (1.0, 5.0):
        choice = rng.random((4, 9)) ** sharp
        choice /= choice.sum(axis=1, keepdims=True)
        bound = arrival_bound(choice)
        nodes, widths = np.polynomial.legendre.leggauss(200)
        s, widths = (nodes + 1) / 2, widths / 2
        for i in range(4):
            for j in range(9):
                others = np.delete(choice[i], j)
                bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
                size = bits.sum(axis=1)
                chance = (
                    widths[:, None] * s[:, None] ** size * (1 - s[:, None]) ** (8 - size)
                ).sum(axis=0)
                truth = float(chance @ np.log(choice[i, j] + bits @ others))
                assert truth - 1e-9 <= bound[i, j] <= closed_form(choice)[i, j] + 1e-9


def test_log_determinant_is_bounded_or_refused():
    rng = np.random.default_rng(1)
    for scale in (1e-6, 0.1, 0.9):
        matrix = rng.random((30, 30))
        matrix *= scale / np.abs(np.linalg.eigvals(matrix)).max()
        truth = -np.linalg.slogdet(np.eye(30) - matrix)[1]
        assert truth * (1 - 1e-12) <= neg_logdet(matrix) <= truth * 1.01 + 1e-10
        assert neg_logdet(matrix * 1.01 / scale) == math.inf
    assert neg_logdet(np.array([[0.0, 1.0], [1.0, 0.0]])) == math.inf
    assert neg_logdet(np.zeros((3, 3))) == 0.0


def test_certified_width_stays_small_at_both_ends():
    rng = np.random.default_rng(2)
    near = log_permanent(gaussian(256, 800, 0.02, rng), generator=rng)
    assert near.certified_upper[0] - near.certified_lower[0] <= 8
    apart = log_permanent(gaussian(256, 800, 0.2, rng), generator=rng)
    assert apart.certified_upper[0] - apart.certified_lower[0] <= 1e-3
    assert apart.method == ("blocks",)


@pytest.mark.parametrize("spread", [0.2, 0.7, 0.9])
def test_refinement_narrows_the_transition(spread):
    """The dearer bounds must earn their cost where the cheap ones are far apart.

    Below, van der Waerden is hard to beat where rows are nearly alike.
    """
    matrix = ScaledMatrix(dual_scale(gaussian(48, 10, spread, np.random.default_rng(5))).log_scaled)
    quick, thorough = (certified(matrix, thorough=t) for t in (False, True))
    assert thorough.lower > quick.lower + (0.5 if spread > 0.5 else -1e-12)
    assert thorough.upper < quick.upper - 0.05
