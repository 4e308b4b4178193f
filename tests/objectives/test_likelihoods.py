"""What every likelihood of the room must do, checked against ``scipy.stats`` through ``reference``.

The suite lists the room: a new module is tested without an edit here.
"""

import math

import numpy as np
import pytest
import torch

from symdiag.errors import InputError, UsageError
from symdiag.objectives.likelihoods import check_noise, find_likelihood, likelihood_names

NOISE = 0.6
DRAWS, POINTS, OUTPUTS = 3, 7, 2

pytestmark = pytest.mark.parametrize("name", likelihood_names())


class Case:
    """Outputs (S, N, d) of a few draws, and targets drawn from the first draw's reference."""

    def __init__(self, name, seed=0, points=POINTS, draws=DRAWS):
        rng = np.random.default_rng(seed)
        self.likelihood = find_likelihood(name)
        self.outputs = rng.standard_normal((draws, points, OUTPUTS))
        noise = NOISE if self.likelihood.has_noise else math.nan
        # [s][n][column]: frozen univariate distributions
        self.frozen = [[self.likelihood.reference(f, noise) for f in fs] for fs in self.outputs]
        # (N, columns)
        self.raw = np.array([[d.rvs(random_state=rng) for d in row] for row in self.frozen[0]])
        self.f = torch.from_numpy(self.outputs)
        self.y = self.likelihood.targets(torch.from_numpy(self.raw).double(), OUTPUTS)
        # what a likelihood without noise must not look at
        self.log_noise = torch.tensor(math.log(noise), dtype=torch.float64)

    def over(self, function):
        """(S, N, columns) of ``function(frozen distribution, target)``."""
        return np.array(
            [
                [
                    [function(d, y) for d, y in zip(row, ys, strict=True)]
                    for row, ys in zip(r, self.raw, strict=True)
                ]
                for r in self.frozen
            ]
        )


def log_density(frozen, y):
    return (
        frozen.logpmf(y) if hasattr(frozen, "logpmf") and is_discrete(frozen) else frozen.logpdf(y)
    )


def is_discrete(frozen):
    return hasattr(getattr(frozen, "dist", frozen), "_pmf")


def test_name_is_that_of_the_module(name):
    assert find_likelihood(name).name == name


def test_log_prob_is_the_distributions(name):
    case = Case(name)
    found = case.likelihood.log_prob(case.f, case.y, case.log_noise)
    assert found.shape == (DRAWS, POINTS)
    np.testing.assert_allclose(found, case.over(log_density).sum(-1), rtol=1e-10, atol=1e-12)


def test_gradient_is_the_slope(name):
    """Central differences in every output, and in the log noise where there is one."""
    case = Case(name)
    f = case.f.clone().requires_grad_()
    log_noise = case.log_noise.clone().requires_grad_()
    case.likelihood.log_prob(f, case.y, log_noise).sum().backward()
    step = 1e-5
    for at in np.ndindex(*f.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = case.f.clone()
            moved[at] += sign * step
            ends.append(case.likelihood.log_prob(moved, case.y, case.log_noise).sum().item())
        assert f.grad[at].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)
    if not case.likelihood.has_noise:
        assert log_noise.grad is None
        return
    ends = [
        case.likelihood.log_prob(case.f, case.y, case.log_noise + d).sum().item()
        for d in (step, -step)
    ]
    assert log_noise.grad.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-5)


def test_nll_is_the_mixtures(name):
    case = Case(name)
    mixture = np.exp(case.over(log_density).sum(-1)).mean(0)
    found = case.likelihood.scores(case.f, case.y, case.log_noise).nll
    assert found == pytest.approx(-np.log(mixture).mean(), rel=1e-10)


def test_metric_is_that_of_the_mixture(name):
    """RMSE of the reference's mean, or accuracy of its most probable value."""
    case = Case(name, points=40)
    scores = case.likelihood.scores(case.f, case.y, case.log_noise)
    if scores.metric_name == "rmse":
        error = case.over(lambda d, y: d.mean()).mean(0) - case.raw
        assert scores.metric == pytest.approx(np.sqrt((error**2).mean()), rel=1e-10)
        return
    assert scores.metric_name == "accuracy"
    _, top = class_probabilities(case)
    assert scores.metric == pytest.approx((top == case.raw).mean(), abs=1e-12)


def class_probabilities(case):
    """Top probability and its value, (N, columns) each, of the mixture over draws."""
    table = np.stack([case.over(lambda d, y, k=k: d.pmf(k)).mean(0) for k in range(OUTPUTS)])
    return table.max(0), table.argmax(0)


def test_calibration_error_is_the_mixtures(name):
    case = Case(name, points=40)
    found = case.likelihood.scores(case.f, case.y, case.log_noise).calibration_error
    if case.likelihood.scores(case.f, case.y, case.log_noise).metric_name == "accuracy":
        confidence, top = (a.reshape(-1) for a in class_probabilities(case))
        correct = top == case.raw.reshape(-1)
        bins = np.minimum((confidence * 15).astype(int), 14)
        gaps = [abs((correct - confidence)[bins == b].sum()) for b in range(15)]
        assert found == pytest.approx(sum(gaps) / len(confidence), abs=1e-10)
        return
    # discrete targets: half of the jump, so that the value is uniform on average
    cdf = case.over(lambda d, y: d.cdf(y) - (0.5 * d.pmf(y) if is_discrete(d) else 0.0)).mean(0)
    levels = np.linspace(0.05, 0.95, 19)
    expected = np.mean([abs((cdf <= level).mean() - level) for level in levels])
    assert found == pytest.approx(expected, abs=1e-10)


def test_a_shifted_model_scores_worse(name):
    case = Case(name, points=400, draws=1)
    shifted = case.f + torch.tensor([3.0, -3.0], dtype=torch.float64)
    true = case.likelihood.scores(case.f, case.y, case.log_noise)
    biased = case.likelihood.scores(shifted, case.y, case.log_noise)
    assert biased.nll > true.nll + 0.3
    assert biased.calibration_error > true.calibration_error + 0.05
    better = 1.0 if true.metric_name == "accuracy" else -1.0
    assert better * (true.metric - biased.metric) > 0.03


def test_what_must_be_refused_is(name):
    likelihood = find_likelihood(name)
    assert likelihood.refusals
    for refusal in likelihood.refusals:
        with pytest.raises(InputError) as caught:
            likelihood.targets(torch.tensor(refusal.targets).double(), refusal.outputs)
        assert caught.value.code == "bad-data"
        assert caught.value.hint
        # what targets are, or how many; not only that these are none
        assert "must be" in str(caught.value) or "columns but" in str(caught.value)


def test_noise_is_refused_where_there_is_none(name):
    likelihood = find_likelihood(name)
    check_noise(likelihood, None)
    if likelihood.has_noise:
        check_noise(likelihood, 0.3)
        return
    for noise in (0.3, "learn"):
        with pytest.raises(UsageError, match="has no noise std") as caught:
            check_noise(likelihood, noise)
        assert caught.value.code == "bad-option"
