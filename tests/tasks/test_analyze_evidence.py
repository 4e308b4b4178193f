"""Evidence on data against formulas written out by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from symdiag import analyze
from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.training.data import Dataset

NOISE, PRIOR, SCALE = 0.5, 2.0, 1e-5


@pytest.fixture
def posterior():
    """A 2-3-1 net whose posterior is so narrow that expectations are values at the mean."""
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (3, 2), "fc1.bias": (3,), "fc2.weight": (1, 3), "fc2.bias": (1,)}
    loc = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return Posterior(loc, {name: np.full(shape, SCALE) for name, shape in shapes.items()})


def data(count, seed):
    rng = np.random.default_rng(seed)
    return Dataset(rng.normal(size=(count, 2)), rng.normal(size=(count, 1)))


def log_likelihoods(posterior, dataset):
    w = posterior.loc
    hidden = np.maximum(dataset.inputs @ w["fc1.weight"].T + w["fc1.bias"], 0.0)
    residual = dataset.targets - hidden @ w["fc2.weight"].T - w["fc2.bias"]
    return (-0.5 * (residual / NOISE) ** 2 - 0.5 * np.log(2 * np.pi * NOISE**2)).sum(1)


def test_every_term_equals_its_formula(posterior):
    train, test = data(30, 1), data(20, 2)
    model = {"likelihood": "gaussian", "noise": NOISE, "prior_std": PRIOR}
    report = analyze(posterior, activation="relu", data=train, test=test, samples=8, **model)
    means = np.concatenate([v.ravel() for v in posterior.loc.values()])
    kl = (np.log(PRIOR / SCALE) + (SCALE**2 + means**2) / (2 * PRIOR**2) - 0.5).sum()
    fit = log_likelihoods(posterior, train).sum()
    assert report.elbo.kl == pytest.approx(kl, abs=1e-9)
    assert report.elbo.expected_log_likelihood.value == pytest.approx(fit, abs=1e-2)
    assert report.elbo.standard.value == pytest.approx(fit - kl, abs=1e-2)
    gain = report.elbo.symmetrized.value - report.elbo.standard.value
    assert gain == pytest.approx(np.log(6) - report.total.straddling_entropy.value, abs=1e-9)
    assert report.test["nll"] == pytest.approx(-log_likelihoods(posterior, test).mean(), abs=1e-3)
    assert (report.elbo.likelihood, report.elbo.noise_std) == ("gaussian", pytest.approx(NOISE))


def test_without_an_activation_there_is_no_forward_pass(posterior):
    with pytest.raises(UsageError) as caught:
        analyze(posterior, data=data(5, 1), noise=NOISE, prior_std=PRIOR, samples=4)
    assert caught.value.code == "forward-undetermined"


def test_without_a_prior_there_is_no_evidence(posterior):
    with pytest.raises(UsageError) as caught:
        analyze(posterior, activation="relu", data=data(5, 1), samples=4)
    assert caught.value.code == "prior-unknown"


def test_a_reference_adds_the_alignment(posterior):
    order = [2, 0, 1]
    loc = dict(posterior.loc)
    loc["fc1.weight"], loc["fc1.bias"] = loc["fc1.weight"][order], loc["fc1.bias"][order]
    loc["fc2.weight"] = loc["fc2.weight"][:, order]
    report = analyze(posterior.replace(loc=loc), activation="relu", reference=posterior, samples=4)
    assert report.alignment.verdict == "same mode up to symmetry"
    assert report.alignment.distance.after == pytest.approx(0.0, abs=1e-9)
    assert report.alignment.distance.before > 0.1


def test_an_exact_posterior_has_equal_weights_whose_mean_is_the_evidence():
    """Bayesian linear regression on an orthogonal design: its posterior is mean-field and Gaussian."""
    inputs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] * 2)
    targets = np.random.default_rng(3).normal(size=8)
    design = np.column_stack([inputs, np.ones(8)])
    precision = 8 / NOISE**2 + 1 / PRIOR**2
    mean, std = design.T @ targets / NOISE**2 / precision, precision**-0.5
    q = Posterior(
        {"fc.weight": mean[None, :2], "fc.bias": mean[2:]},
        {"fc.weight": np.full((1, 2), std), "fc.bias": np.full(1, std)},
    )
    report = analyze(
        q, activation="relu", data=Dataset(inputs, targets[:, None]), noise=NOISE, prior_std=PRIOR
    )
    covariance = NOISE**2 * np.eye(8) + PRIOR**2 * design @ design.T
    evidence = stats.multivariate_normal(cov=covariance).logpdf(targets)
    plain = report.elbo.importance.plain
    assert plain.bound.value == pytest.approx(evidence, abs=1e-9)
    assert plain.pareto_k is None
    assert plain.effective_draws == pytest.approx(plain.bound.samples)
    assert report.elbo.importance.symmetrized is None
    assert "no symmetry" in report.elbo.importance.left_out


@pytest.mark.parametrize("loss", [True, False])
def test_laplace_is_exact_for_a_linear_model_and_adds_the_copies_of_its_mode(tmp_path, loss):
    """A linear net's last layer is a Gaussian model: the file's evidence is scipy's log density."""
    rng = np.random.default_rng(5)
    design, targets = np.column_stack([rng.normal(size=(8, 2)), np.ones(8)]), rng.normal(size=8)
    curvature, prior = design.T @ design, 0.7
    mean = np.linalg.solve(curvature / NOISE**2 + prior * np.eye(3), design.T @ targets / NOISE**2)
    state = {
        "mean": torch.from_numpy(mean),
        "H": torch.from_numpy(curvature),
        "prior_mean": 0.0,
        "prior_precision": torch.tensor([prior], dtype=torch.float64),
        "sigma_noise": torch.tensor(NOISE, dtype=torch.float64),
        "temperature": 1.0,
        "n_data": 8,
        "likelihood": "regression",
        "cls_name": "FullLaplace",
    }
    if loss:
        state["loss"] = 0.5 * float(((targets - design @ mean) ** 2).sum())
    torch.save(state, tmp_path / "laplace.bin")
    weights = {"fc.weight": torch.from_numpy(mean[None, :2]), "fc.bias": torch.from_numpy(mean[2:])}
    torch.save(weights, tmp_path / "model.bin")
    found = analyze(tmp_path / "laplace.bin", companion=tmp_path / "model.bin").laplace
    evidence = stats.multivariate_normal(cov=NOISE**2 * np.eye(8) + design @ design.T / prior)
    if loss:
        assert found.uncorrected == pytest.approx(evidence.logpdf(targets), abs=1e-9)
        assert found.corrected.value == found.uncorrected  # no hidden unit, no copies
    else:
        assert (found.uncorrected, found.corrected) == (None, None)
        assert found.left_out == "the file does not hold loss"


def test_weights_of_the_symmetrised_posterior_are_those_of_the_mixture(posterior):
    """Far apart modes: q^G(ω) = q(ω)/3! at every draw of q, so the bound rises by log 6."""
    model = {"activation": "relu", "noise": NOISE, "prior_std": PRIOR, "samples": 8}
    found = analyze(posterior, data=data(30, 1), **model).elbo
    gain = found.importance.symmetrized.bound.value - found.importance.plain.bound.value
    assert gain == pytest.approx(np.log(6), abs=1e-9)
    assert found.standard.value <= found.importance.plain.bound.value + 1e-9


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_coverage_counts_targets_inside_central_intervals(posterior, scale):
    """A posterior without width predicts N(f, NOISE²): intervals are those of scipy's normal."""
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(400, 2))
    probe = Dataset(inputs, np.zeros((400, 1)))
    w = posterior.loc
    hidden = np.maximum(inputs @ w["fc1.weight"].T + w["fc1.bias"], 0.0)
    f = hidden @ w["fc2.weight"].T + w["fc2.bias"]
    errors = rng.normal(size=f.shape) * NOISE
    test = Dataset(probe.inputs, f + errors)
    report = analyze(
        posterior,
        activation="relu",
        data=data(30, 1),
        test=test,
        samples=4,
        noise=scale * NOISE,
        prior_std=PRIOR,
    )
    assert [c.level for c in report.coverage] == [0.5, 0.9, 0.95]
    for found in report.coverage:
        half = stats.norm.ppf(0.5 + found.level / 2) * scale * NOISE
        inside = int((np.abs(errors) <= half).sum())
        assert found.share == pytest.approx(inside / 400)
        exact = stats.binomtest(inside, 400).proportion_ci(0.95, method="exact")
        assert (found.lower, found.upper) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert ("SYM313" in {f.code for f in report.findings}) == (scale < 1)
