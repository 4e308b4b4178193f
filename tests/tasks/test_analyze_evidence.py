"""Evidence on data against formulas written out by hand."""

import numpy as np
import pytest

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
