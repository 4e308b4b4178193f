"""Every deterministic bound against exact values on thousands of matrices: violated once is a bug."""

import math

import numpy as np
import pytest
from permanent_cases import REGIMES, gaussian, regime

from symdiag.permanents import Effort, log_permanent
from symdiag.permanents.blocks import neg_logdet, pair_weights, split
from symdiag.permanents.bregman import arrival_bound, bregman_upper, closed_form
from symdiag.permanents.certificates import certify
from symdiag.permanents.exact import exact_log_permanent
from symdiag.permanents.identical import rank_one_interval
from symdiag.permanents.macmahon import macmahon_upper
from symdiag.permanents.rounding import (
    bethe_lower,
    round_to_doubly_stochastic,
    van_der_waerden_lower,
)
from symdiag.permanents.scaling import dual_scale
from symdiag.permanents.sinkhorn import sinkhorn


def _cases(name, count):
    rng = np.random.default_rng([7, REGIMES.index(name)])
    for _ in range(count):
        matrix = regime(name, int(rng.integers(2, 9)), rng)
        scaled = dual_scale(matrix)
        if math.isfinite(scaled.offset):
            exact = exact_log_permanent(matrix[None])[0] - scaled.offset
            yield rng, scaled.log_scaled, exact, 1e-10 + 1e-14 * abs(scaled.offset)


@pytest.mark.parametrize("name", REGIMES)
def test_every_bound_holds(name):
    for rng, log_scaled, exact, tolerance in _cases(name, 250):
        n = len(log_scaled)
        finite = bool(np.isfinite(log_scaled).all())
        guess = rng.random((n, n)) + 1e-3
        doubly = round_to_doubly_stochastic(sinkhorn(guess, sweeps=200).weights)
        lowers = {
            "van der Waerden": van_der_waerden_lower(log_scaled, doubly),
            "Bethe": bethe_lower(log_scaled, doubly),
        }
        uppers = {
            "MacMahon": macmahon_upper(log_scaled),
            "entropy": bregman_upper(log_scaled, guess, sweeps=1, refine=0),
            "entropy refined": bregman_upper(log_scaled, guess, sweeps=1, refine=1),
        }
        if finite:
            lowers["rank one"], uppers["rank one"] = rank_one_interval(log_scaled)
        balanced = sinkhorn(np.exp(log_scaled))
        lowers["all"], uppers["all"] = certify(log_scaled, balanced, thorough=True)
        for threshold in (-1.0, -6.0):
            cut = split(log_scaled, pair_weights(log_scaled), threshold)
            value = sum(exact_log_permanent(log_scaled[np.ix_(b, b)][None])[0] for b in cut.blocks)
            lowers[f"blocks {threshold}"], uppers[f"blocks {threshold}"] = value, value + cut.loss
        assert {k: v - exact for k, v in lowers.items() if v > exact + tolerance} == {}
        assert {k: v - exact for k, v in uppers.items() if v < exact - tolerance} == {}


@pytest.mark.parametrize("name", REGIMES)
def test_planner_bounds_hold_and_contain_the_value(name):
    rng = np.random.default_rng([8, REGIMES.index(name)])
    matrices = [regime(name, 7, rng) for _ in range(40)]
    exact = exact_log_permanent(np.array(matrices))
    effort = Effort(max_exact=2, particles=8, runs=2)
    result = log_permanent(np.array(matrices), generator=rng, effort=effort)
    tolerance = 1e-9 + 1e-14 * np.abs(np.where(np.isfinite(exact), exact, 0.0))
    assert (result.certified_lower <= exact + tolerance).all()
    assert (result.certified_upper >= exact - tolerance).all()
    assert (result.certified_lower <= result.value).all()
    assert (result.value <= result.certified_upper).all()
    claimed = result.exact & np.isfinite(exact)
    assert (np.abs(result.value[claimed] - exact[claimed]) <= 1e-6).all()


def test_bounds_are_tight_where_theory_says_so():
    flat = np.zeros((12, 12))
    doubly = np.full((12, 12), 1 / 12)
    assert abs(van_der_waerden_lower(flat, doubly) - math.lgamma(13)) <= 1e-9
    near = np.full((9, 9), -7.0)
    np.fill_diagonal(near, 0.0)
    exact = exact_log_permanent(near[None])[0]
    assert exact <= macmahon_upper(near) <= exact * 1.01
    two = np.log(np.array([[0.6, 0.4], [0.3, 0.9]]))
    exact = math.log(0.6 * 0.9 + 0.4 * 0.3)
    assert exact <= bregman_upper(two, np.exp(two), sweeps=20, refine=20) <= exact + 1e-2
    best = max(
        bethe_lower(two, np.array([[p, 1 - p], [1 - p, p]])) for p in np.linspace(0.01, 0.99, 99)
    )
    assert exact - math.log(2) <= best <= exact  # perm <= sqrt(2)^n times the Bethe permanent


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
