"""Thresholds of the two-Gaussian target, re-derived by other means."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import fsolve, minimize
from scipy.special import expit

from benchmarks.paper import gaussians


@pytest.fixture(scope="module")
def appears():
    return gaussians.mode_appears()


def test_objective_is_the_kl_divergence():
    m, s, alpha = 0.7, 1.3, 3.0

    def integrand(t):
        q = np.exp(-0.5 * ((t - m) / s) ** 2) / s / np.sqrt(2 * np.pi)
        p = 0.5 * (np.exp(-0.5 * t**2) + np.exp(-0.5 * (t - alpha) ** 2)) / np.sqrt(2 * np.pi)
        return q * np.log(q / p)

    expected = quad(integrand, m - 9 * s, m + 9 * s, epsabs=1e-12)[0]
    assert gaussians.objective(m, s, alpha) == pytest.approx(expected, abs=1e-9)


def test_lower_threshold_is_where_the_hessian_turns_singular(appears):
    """The mode's optimum meets a saddle: gradient and determinant of the Hessian vanish together (Gauss–Hermite)."""
    x, w = np.polynomial.hermite_e.hermegauss(180)
    w = w / w.sum()

    def fold(p):
        m, s, a = p
        r = expit(a * (m + s * x) - 0.5 * a**2)
        l1, l2 = w @ (-(m + s * x) + a * r), w @ (-1 + a**2 * r * (1 - r))
        l3 = w @ (a**3 * r * (1 - r) * (1 - 2 * r))
        l4 = w @ (a**4 * r * (1 - r) * (1 - 6 * r + 6 * r**2))
        hessian = (-l2) * (1 / s**2 - l2 - s**2 * l4) - (s * l3) ** 2
        return [l1, -1 / s - s * l2, hessian]

    m, s, alpha = fsolve(fold, [0.35, 1.25, 4.8])
    assert 0.1 < m < 1.0
    assert np.abs(fold([m, s, alpha])).max() < 1e-6
    assert appears == pytest.approx(alpha, abs=1e-3)
    assert appears == pytest.approx(4.83, abs=0.01)


def test_upper_threshold_is_where_both_optima_are_equally_good():
    wins = gaussians.mode_wins()
    assert wins == pytest.approx(5.60, abs=0.005)
    for alpha, better in ((wins - 0.05, "middle"), (wins + 0.05, "mode")):
        found = {}
        for name, start in (("mode", [0.0, 0.0]), ("middle", [alpha / 2, np.log(alpha / 2.5)])):
            result = minimize(
                lambda p, a=alpha: gaussians.objective(p[0], np.exp(p[1]), a),
                start,
                method="Nelder-Mead",
            )
            found[name] = result.fun
        assert min(found, key=found.get) == better


@pytest.mark.parametrize(("alpha", "std"), [(2.0, 1.394), (4.0, 2.047)])
def test_midpoint_scale(alpha, std):
    assert gaussians.best_scale(alpha / 2, alpha) == pytest.approx(std, abs=5e-4)


@pytest.mark.parametrize("alpha", [1.0, 5.0, 12.0, 40.0])
def test_midpoint_stays_an_optimum_in_one_dimension(alpha):
    s = gaussians.best_scale(alpha / 2, alpha)
    assert gaussians.curvature(alpha / 2, s, alpha) == pytest.approx(1 / s**2, rel=1e-6)


def test_spread_out_separation_leaves_the_midpoint_at_once():
    """In three coordinates the midpoint is no optimum beyond 3.35σ: a small push goes downhill."""
    alpha = gaussians.midpoint_dissolves(3)
    assert alpha == pytest.approx(3.345, abs=1e-3)
    for factor, downhill in ((0.97, False), (1.03, True)):
        a = factor * alpha
        s = gaussians.best_scale(a / 2, a, 3)
        pushed = min(
            gaussians.objective(a / 2 - 0.05, s * f, a, 3) for f in np.linspace(0.98, 1.02, 41)
        )
        assert (pushed < gaussians.objective(a / 2, s, a, 3)) is downhill
