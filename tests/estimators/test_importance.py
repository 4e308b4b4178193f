"""Tail of importance weights and the symmetrised density, against other codes and enumeration."""

import math
import warnings

import numpy as np
import pytest
import torch
from brute_force import mlp, straddling_of
from scipy import stats

from symdiag.estimators import importance, joint
from symdiag.estimators.importance import (
    effective_draws,
    evidence_bound,
    generalised_pareto,
    pareto_tail,
    reliable_below,
    symmetrized_log_ratio,
)


@pytest.mark.parametrize("count", [100, 1000, 3001])
@pytest.mark.parametrize("spread", [0.3, 1.0, 8.0])
def test_the_tail_is_that_of_arviz(count, spread):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a refactoring of its own that it announces
        arviz = pytest.importorskip("arviz")
    log_weights = spread * np.random.default_rng(count).standard_normal(count)
    expected = float(arviz.psislw(log_weights.copy())[1])
    assert pareto_tail(log_weights).shape == pytest.approx(expected, abs=1e-9)
    assert pareto_tail(log_weights - 5e4).shape == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.3])
def test_shape_and_scale_of_a_generalised_pareto_law_are_found(shape):
    draws = stats.genpareto(shape, scale=3.0).rvs(4000, random_state=1)
    found, scale = generalised_pareto(np.sort(draws))
    assert found == pytest.approx(shape, abs=4 * (1 + shape) / math.sqrt(4000))
    assert scale == pytest.approx(3.0, rel=0.15)


@pytest.mark.parametrize("shape", [0.2, 0.8])
def test_the_error_of_the_shape_is_its_spread_over_repetitions(shape):
    rng = np.random.default_rng(0)
    tails = [pareto_tail(np.log1p(rng.pareto(1 / shape, 1000))) for _ in range(200)]
    spread = np.std([tail.shape for tail in tails])
    assert np.mean([tail.error for tail in tails]) == pytest.approx(spread, rel=0.2)


def test_equal_weights_have_no_tail_and_lose_nothing():
    log_weights = np.full(200, -3.25)
    assert pareto_tail(log_weights) is None
    assert effective_draws(log_weights) == pytest.approx(200)
    bound = evidence_bound(log_weights, None, "test")
    assert (bound.value, bound.std_error) == pytest.approx((-3.25, 0.0))


def test_the_lower_end_holds_in_95_of_100_cases_however_heavy_the_tail():
    """Weights exp(s x − s²/2) have mean 1, so log Z = 0; at s = 4 k̂ is far above 0.7."""
    rng = np.random.default_rng(2)
    for spread, heavy in ((0.5, False), (4.0, True)):
        runs = [spread * rng.standard_normal(400) - spread**2 / 2 for _ in range(200)]
        bounds = [evidence_bound(run, pareto_tail(run), "test") for run in runs]
        assert np.mean([b.lower > 0 for b in bounds]) < 0.05
        assert np.mean([b.value for b in bounds]) < 0.01
        assert (np.mean([b.value - b.lower for b in bounds]) > 2.9) == heavy


def test_the_threshold_falls_with_fewer_draws():
    assert reliable_below(10**6) == 0.7
    assert reliable_below(100) == pytest.approx(0.5)


def chunks(draws, size=32):
    count = len(next(iter(draws.values())))
    for start in range(0, count, size):
        yield {n: torch.from_numpy(value[start : start + size]) for n, value in draws.items()}


@pytest.mark.parametrize(
    ("sizes", "signed"), [((2, 3, 1), False), ((1, 3, 2), True), ((1, 3, 3, 1), False)]
)
def test_the_symmetrised_density_is_the_mean_over_every_element(sizes, signed):
    posterior, spec = mlp(sizes, 3, std=0.7, signed=signed)
    draws = posterior.sample(np.random.default_rng(1), 6)
    found, _ = symmetrized_log_ratio(posterior, spec, chunks(draws), seed=0, budget=5.0)
    for s in range(6):
        one = {name: value[s] for name, value in draws.items()}
        expected = straddling_of(posterior, spec, one) - spec.log_order
        assert found[s] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("count", [32, pytest.param(1000, marks=pytest.mark.slow)])
def test_where_elements_are_sampled_the_inverse_density_is_unbiased(monkeypatch, count):
    """E 1/(upper end) = 1/Σ_g r(g) is what makes the mean weight Z, not only its log a bound."""
    posterior, spec = mlp((1, 3, 3, 1), 5, std=0.7)
    draws = posterior.sample(np.random.default_rng(2), count)
    exact, _ = symmetrized_log_ratio(posterior, spec, chunks(draws), seed=0, budget=60.0)
    monkeypatch.setattr(joint, "enumerable", lambda groups: False)
    monkeypatch.setattr("symdiag.estimators.evaluator.enumerable", lambda groups: False)
    monkeypatch.setattr("symdiag.estimators.evaluator.SANDWICH_ELEMENTS", 3)
    sampled, method = symmetrized_log_ratio(posterior, spec, chunks(draws), seed=0, budget=600.0)
    assert method == "sandwich-K3"
    ratio = np.exp(exact - sampled)
    assert ratio.std() > 0.01
    assert ratio.mean() == pytest.approx(1.0, abs=4 * ratio.std() / math.sqrt(len(ratio)))


@pytest.mark.parametrize(("seconds", "expected"), [(0.02, 160), (0.1, 0)])
def test_a_budget_ends_the_draws_not_the_clock(monkeypatch, seconds, expected):
    """Chunks of 32 cost 0.64 nominal seconds of 3; where 100 draws would cost 10, none is made."""
    posterior, spec = mlp((2, 3, 1), 3)
    draws = posterior.sample(np.random.default_rng(1), 200)
    monkeypatch.setattr(importance, "_draw_seconds", lambda estimator: seconds)
    found, _ = symmetrized_log_ratio(posterior, spec, chunks(draws), seed=0, budget=3.0)
    assert len(found) == expected
