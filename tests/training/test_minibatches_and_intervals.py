"""Sums over a data set from part of it, and the width of what is reported of them."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from symdiag.objectives.terms import build_objective
from symdiag.training import evaluation, loss
from symdiag.training.config import EvaluationConfig, TrainingConfig
from symdiag.training.loss import Monitor, loss_terms
from symdiag.workers import Workers


def still(problem):
    """The problem's start with next to no spread: every draw is the mean."""
    q = problem.start()
    with torch.no_grad():
        q.log_scale.fill_(-25.0)
    return q


@pytest.mark.parametrize("world", [1, 2])
def test_batches_of_an_epoch_average_to_the_sum_over_all_points(problem, world):
    """N/B times a batch's log-likelihood is unbiased: over an epoch it averages to the whole sum."""
    options = {"steps": 50, "draws": 2, "seed": 3, "objective": "elbo"}
    whole = TrainingConfig(batch_size=40, **options).resolved(
        len(problem.train), problem.flat_prior.loc.numel()
    )
    parts = TrainingConfig(batch_size=8, **options).resolved(
        len(problem.train), problem.flat_prior.loc.numel()
    )
    q = still(problem)
    objective = build_objective("elbo", problem.spec, q)
    workers = [Workers(rank, world) for rank in range(world)]

    def fit(config, steps):
        return np.mean(
            [
                float(loss_terms(problem, q, objective, config, s, w).log_likelihood.detach())
                for s in steps
                for w in workers
            ]
        )

    expected = float(problem.log_likelihood(q, q.loc[None].detach(), problem.train)[0].detach())
    assert fit(whole, [0]) == pytest.approx(expected, rel=1e-6)
    assert fit(parts, range(5)) == pytest.approx(expected, rel=1e-6)


def test_the_monitor_scales_a_subset_up_to_the_whole(problem, monkeypatch):
    """Twenty of forty equal points stand for all forty."""
    points = problem.train
    equal = dataclasses.replace(
        points,
        inputs=points.inputs[:1].expand(40, -1),
        targets=points.targets[:1].expand_as(points.targets),
    )
    same = dataclasses.replace(problem, train=equal)
    full = Monitor(same, seed=0)(still(problem)).log_likelihood
    monkeypatch.setattr(loss, "_POINTS", 20)
    assert Monitor(same, seed=0)(still(problem)).log_likelihood == pytest.approx(full, rel=1e-9)


def test_the_log_likelihoods_interval_is_two_standard_errors_either_way(problem):
    found = evaluation.evaluate(problem, problem.start(), EvaluationConfig(samples=50, seed=1))
    error = stats.sem(found.draws)
    estimate = found.log_likelihood
    assert estimate.value == pytest.approx(found.draws.mean())
    assert estimate.std_error == pytest.approx(error)
    assert estimate.upper - estimate.value == pytest.approx(2 * error)
    assert estimate.value - estimate.lower == pytest.approx(2 * error)
    assert found.elbo.upper - found.elbo.lower == pytest.approx(4 * error)


def test_evaluation_in_parts_is_that_of_all_draws_and_points(problem, monkeypatch):
    """Seven points and few draws at a time: fit, test NLL and scores are the same."""
    config = EvaluationConfig(samples=20, budget=0.2)
    q = problem.start()
    whole = evaluation.evaluate(problem, q, config)
    monkeypatch.setattr(evaluation, "_CHUNK_POINTS", 7)
    monkeypatch.setattr(evaluation, "_CHUNK", 200)
    parts = evaluation.evaluate(problem, q, config)
    np.testing.assert_allclose(parts.draws, whole.draws, rtol=1e-10)
    np.testing.assert_allclose(parts.point_nll, whole.point_nll, rtol=1e-10)
    assert parts.test.metric == pytest.approx(whole.test.metric, rel=1e-10)
    assert parts.test.calibration_error == pytest.approx(whole.test.calibration_error, abs=1e-9)
    # scores from few draws, the density from all
    monkeypatch.setattr(evaluation, "_OUTPUTS", 4 * len(problem.test))
    few = evaluation.evaluate(problem, q, config)
    np.testing.assert_allclose(few.point_nll, whole.point_nll, rtol=1e-10)
