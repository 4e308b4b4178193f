"""The KL's weight in reports, on conjugate models: linear, Gaussian noise and prior."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from symdiag import analyze
from symdiag.errors import UnsupportedError
from symdiag.posterior import Covariance, Posterior
from symdiag.report import render
from symdiag.training.data import Dataset

POINTS, INPUTS, NOISE, PRIOR = 30, 10, 0.5, 1.2
OPTIONS = {"noise": NOISE, "prior_std": PRIOR, "samples": 4}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((POINTS, INPUTS)) * np.geomspace(0.1, 1.5, INPUTS)
    y = x @ rng.standard_normal((INPUTS, 1)) + NOISE * rng.standard_normal((POINTS, 1))
    return Dataset(x, y)


def design(data):
    return np.concatenate([data.inputs, np.ones((POINTS, 1))], axis=1)


def posterior(data, weight, correlated=""):
    """The optimum of E[log p] − T·KL among mean-field or among all Gaussians."""
    z = design(data)
    precision = z.T @ z / NOISE**2 / weight + np.eye(INPUTS + 1) / PRIOR**2
    loc = np.linalg.solve(precision, z.T @ data.targets[:, 0] / NOISE**2 / weight)
    covariance = np.linalg.inv(precision if correlated else np.diag(np.diag(precision)))
    scale = np.sqrt(np.diag(covariance))
    parts = [{"fc.weight": v[None, :INPUTS], "fc.bias": v[INPUTS:]} for v in (loc, scale)]
    if not correlated:
        return Posterior(*parts)
    # a factor plus a diagonal, or the Cholesky factor alone
    least = np.linalg.eigvalsh(covariance).min()
    rest = np.full(INPUTS + 1, 0.5 * least if correlated == "factor" else 0.0)
    factor = np.linalg.cholesky(covariance - np.diag(rest))
    return Posterior(*parts, covariance=Covariance(("fc.weight", "fc.bias"), factor, rest))


@pytest.mark.parametrize("kind", ["factor", "full"])
def test_the_elbo_of_the_exact_correlated_posterior_is_the_log_evidence(data, kind):
    report = analyze(posterior(data, 1.0, correlated=kind), data=data, **OPTIONS)
    z = design(data)
    marginal = stats.multivariate_normal(
        np.zeros(POINTS), PRIOR**2 * z @ z.T + NOISE**2 * np.eye(POINTS)
    )
    evidence = marginal.logpdf(data.targets[:, 0])
    error = report.elbo.standard.std_error
    assert report.elbo.standard.value == pytest.approx(evidence, abs=4 * error)
    assert error < 0.15
    weight = report.elbo.kl_weight
    assert weight.method == "weight-draws"
    assert weight.value == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("weight", "code"), [(1.0, []), (30 / 8, ["SYM301"])])
def test_a_report_says_whether_the_kl_is_right(data, weight, code):
    report = analyze(posterior(data, weight), data=data, batch_size=8, **OPTIONS)
    found = report.elbo.kl_weight
    assert found.status == "ok"
    assert found.value == pytest.approx(weight, rel=0.03)
    assert [f.code for f in report.findings if f.code in ("SYM301", "SYM302")] == code
    stored = json.loads(render(report, "json"))["elbo"]["kl_weight"]
    assert stored["lower"] < weight < stored["upper"]
    assert len(stored["points"]) == INPUTS + 1
    text = render(report, "text")
    assert "Weight of the KL" in text
    assert ("minibatch of 8 of 30" in " ".join(text.split())) == bool(code)


def test_under_a_mixture_prior_bounds_lie_below_the_evidence():
    """One weight: the evidence is an integral over a line."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((12, 1))
    y = 0.4 * x + NOISE * rng.standard_normal((12, 1))
    grid = np.linspace(-6, 6, 240_001)
    prior = 0.5 * stats.norm.pdf(grid, 0, 1.0) + 0.5 * stats.norm.pdf(grid, 0, 0.02)
    fit = stats.norm.logpdf(y, x * grid[None, ::100], NOISE).sum(0)
    # a quadratic in the weight: interpolated exactly by its three coefficients
    fit = np.polyval(np.polyfit(grid[::100], fit, 2), grid)
    evidence = np.log(np.trapezoid(prior * np.exp(fit), grid))
    q = Posterior({"fc.weight": np.full((1, 1), 0.25)}, {"fc.weight": np.full((1, 1), 0.25)})
    report = analyze(q, data=Dataset(x, y), noise=NOISE, prior_mixture=(0.5, 1.0, 0.02), samples=4)
    density = stats.norm.pdf(grid, 0.25, 0.25)
    kl = np.trapezoid(density * (stats.norm.logpdf(grid, 0.25, 0.25) - np.log(prior)), grid)
    assert report.elbo.kl == pytest.approx(kl, rel=1e-6)
    standard, bound = report.elbo.standard, report.elbo.importance.plain.bound
    assert standard.value - 4 * standard.std_error < evidence
    assert bound.value == pytest.approx(evidence, abs=4 * bound.std_error)
    assert bound.std_error < 0.1
    assert report.elbo.standard.value < bound.value
    said = " ".join(report.elbo.kl_weight.assumptions)
    assert "mixture prior 0.5 N(0, 1²) + 0.5 N(0, 0.02²), given" in said


def test_a_finished_posterior_stays_where_it_is(data):
    report = analyze(posterior(data, 3.0), data=data, continue_steps=30, **OPTIONS)
    found = report.elbo.kl_weight.continued
    assert found.steps == 30
    assert found.status == "ok"
    assert abs(found.moved) < 0.05
    assert abs(found.gain) < 1.0


def test_training_that_had_not_finished_gains(data):
    done = posterior(data, 1.0)
    early = dataclasses.replace(done, loc={name: 0.3 * loc for name, loc in done.loc.items()})
    report = analyze(early, data=data, continue_steps=60, **OPTIONS)
    found = report.elbo.kl_weight
    assert found.status == "not-stationary"
    assert found.continued.gain > 10.0
    assert "SYM302" in [f.code for f in report.findings]


def test_correlated_weights_are_not_trained_on(data):
    with pytest.raises(UnsupportedError) as caught:
        analyze(posterior(data, 1.0, correlated="full"), data=data, continue_steps=5, **OPTIONS)
    assert caught.value.code == "correlated-posterior"
