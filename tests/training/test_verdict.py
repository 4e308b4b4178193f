"""Differences, run-to-run noise and verdicts; the evaluation behind them against closed forms."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

from symdiag.estimate import Estimate
from symdiag.objectives.likelihoods.interface import Scores
from symdiag.posterior import Posterior
from symdiag.tasks._retrain_report import (
    Outcome,
    best_by_evidence,
    best_by_predictions,
    evaluated_runs,
)
from symdiag.training.evaluation import (
    Evaluation,
    EvaluationConfig,
    active_units,
    evaluate,
    symmetrized_bound,
)
from symdiag.training.job import Control
from symdiag.training.learning_problem import scratch
from symdiag.training.verdict import (
    Difference,
    differences,
    prediction_difference,
    prediction_slack,
    run_to_run_slack,
    symmetrized_difference,
    verdict_of,
)


def exact(value, error=0.1):
    return Estimate(value, error, value - 2 * error, value + 2 * error, "m", 100)


def evaluation(draws, *, kl=10.0, entropy=5.0, error=0.1, test=True):
    draws = np.asarray(draws, dtype=float)
    fit = exact(float(draws.mean()))
    elbo = exact(fit.value - kl)
    h = exact(entropy, error)
    return Evaluation(
        fit,
        kl,
        elbo,
        h,
        symmetrized_bound(elbo, h, 20.0),
        3,
        5,
        0.3,
        Scores(0.5, "rmse", 0.4, 0.02) if test else None,
        draws,
        np.linspace(0, 1, 50) if test else None,
    )


def test_differences_are_paired_and_signed():
    rng = np.random.default_rng(0)
    common = 50.0 * rng.standard_normal(200)
    before = evaluation(common)
    after = evaluation(common + 2.0 + 0.1 * rng.standard_normal(200), kl=11.0, entropy=3.0)
    found = {d.name: d for d in differences(before, after)}
    assert found["log_likelihood"].value == pytest.approx(2.0, abs=0.03)
    assert (
        found["log_likelihood"].upper - found["log_likelihood"].lower < 0.1
    )  # unpaired it would be 14
    assert found["elbo"].value == pytest.approx(1.0, abs=0.03)
    assert found["symmetrized"].value == pytest.approx(3.0, abs=0.03)
    assert found["straddling_entropy"].lower == pytest.approx(-2.4)
    assert found["straddling_entropy"].upper == pytest.approx(-1.6)
    assert found["test_nll"].value == 0.0
    assert set(found) >= {"kl", "active_units", "rmse", "calibration_error"}
    scores = Scores(0.5, "rmse", 0.3, 0.05)
    found = {
        d.name: d
        for d in differences(before, dataclasses.replace(after, active_units=5, test=scores))
    }
    assert found["active_units"].value == 2.0
    assert found["rmse"].value == pytest.approx(-0.1)
    assert found["calibration_error"].value == pytest.approx(0.03)
    assert "test_nll" not in {d.name for d in differences(evaluation(common, test=False), after)}


def test_the_evidence_interval_takes_the_upper_end_of_the_entropy():
    bound = symmetrized_bound(exact(-100.0, 0.5), exact(5.0, 0.25), 20.0)
    assert bound.value == -85.0
    assert bound.lower == pytest.approx(-101.0 + 20.0 - 5.5)
    assert bound.upper == pytest.approx(-99.0 + 20.0 - 4.5)


def test_verdict_needs_an_interval_without_zero():
    assert verdict_of(Difference("x", 2.0, 0.1, 4.0)) == "improved"
    assert verdict_of(Difference("x", 2.0, -0.1, 4.0)) == "no measurable benefit"
    assert verdict_of(Difference("x", -2.0, -4.0, -0.1)) == "worse"


def test_evidence_and_predictions_are_judged_together():
    up, flat, down = (Difference("x", v, v - 1.0, v + 1.0) for v in (2.0, 0.0, -2.0))
    assert verdict_of(up, None) == "improved"
    assert verdict_of(up, down) == "improved"
    assert verdict_of(up, flat) == "improved"
    assert verdict_of(up, up) == "evidence up, predictions worse"  # NLL: up is worse
    assert verdict_of(flat, up) == "worse"
    assert verdict_of(flat, down) == "no measurable benefit"
    assert verdict_of(down, down) == "worse"


def test_training_noise_counts_for_predictions():
    """NLL 0.02 above on 500 points is far beyond their sampling error, and what seeds alone may do."""
    rng = np.random.default_rng(0)
    base = evaluation(rng.standard_normal(50))
    points = rng.standard_normal(500)
    made = [
        dataclasses.replace(
            base,
            point_nll=points + shift + 1e-3 * rng.standard_normal(500),
            test=dataclasses.replace(base.test, nll=float(points.mean() + shift)),
        )
        for shift in (0.0, 0.015, -0.01, 0.02)
    ]
    assert prediction_difference(made[0], made[3]).lower > 0.0
    slack = prediction_slack(made[:3])
    spread = np.std([0.0, 0.015, -0.01], ddof=1)
    assert slack == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(2.0) * spread, rel=1e-9)
    assert prediction_difference(made[0], made[3], slack).lower < 0.0
    assert prediction_difference(evaluation(np.ones(5), test=False), made[0]) is None


def test_run_noise_widens_the_interval():
    before, after = evaluation(np.zeros(100)), evaluation(np.ones(100))
    narrow = symmetrized_difference(before, after)
    assert verdict_of(narrow) == "improved"
    wide = symmetrized_difference(before, after, run_slack=3.0)
    assert verdict_of(wide) == "no measurable benefit"
    assert wide.value == narrow.value


def test_null_claims_are_rare_when_runs_differ_by_noise_alone():
    """Controls and a null run from one distribution: 'improved' in 2.5 % of cases at most, not in half of them."""
    rng = np.random.default_rng(1)
    claims = 0
    for _ in range(2000):
        values = rng.standard_normal(4)
        runs = [evaluation(np.full(100, v), error=1e-6, test=False) for v in values]
        slack = run_to_run_slack(runs[:3])
        claims += verdict_of(symmetrized_difference(runs[0], runs[3], slack)) == "improved"
    assert claims / 2000 < 0.035
    assert run_to_run_slack(runs[:1]) is None
    t = stats.t.ppf(0.975, 1)
    two = [evaluation([0.0, 0.0]), evaluation([2.0, 2.0])]
    assert run_to_run_slack(two) == pytest.approx(t * math.sqrt(2) * math.sqrt(2))


def outcome(main, continued, fresh=(), nll=None):
    """Runs with these values of L^G, no error of their own; ``nll``: of each, in the same order."""
    values = [*continued, *fresh]
    kinds = ["continued"] * len(continued) + ["scratch"] * len(fresh)
    scores = iter(nll or [0.5] * (len(values) + 1))

    def run(value):
        made = evaluation(np.full(100, value), error=1e-9)
        score = next(scores)
        points = np.full(50, score)
        return dataclasses.replace(
            made, test=dataclasses.replace(made.test, nll=score), point_nll=points
        )

    after = run(main)
    controls = {
        Control(k + 1, kind): run(value)
        for k, (kind, value) in enumerate(zip(kinds, values, strict=True))
    }
    return Outcome(run_before(), controls, after)


def run_before():
    return evaluation(np.full(100, -50.0))


def test_the_verdict_is_on_the_best_control_of_either_kind():
    """A fresh net that beats every continued run takes its lead off the reported gain."""
    against_continued = outcome(7.0, [0.0, 0.1, -0.1])
    assert against_continued.best_control.name == "control-2"
    assert against_continued.gain.value == pytest.approx(6.9)
    assert against_continued.verdict == "improved"
    fresh = outcome(7.0, [0.0, 0.1, -0.1], [5.0])
    assert fresh.best_control == Control(4, "scratch")
    assert fresh.gain.value == pytest.approx(2.0)
    assert fresh.verdict == "improved"
    better = outcome(7.0, [0.0, 0.1, -0.1], [9.0])
    assert better.verdict == "worse"
    worse = outcome(7.0, [0.0, 0.1, -0.1], [-9.0])
    assert worse.best_control.kind == "continued"
    assert worse.gain.value == pytest.approx(6.9)


def test_training_noise_is_the_spread_of_the_continued_controls_alone():
    """Fresh nets scatter by tens of nats; that is no noise of one start's training."""
    alone = outcome(7.0, [0.0, 0.1, -0.1], nll=[0.5, 0.5, 0.51, 0.49])
    mixed = outcome(7.0, [0.0, 0.1, -0.1], [5.0, -40.0], nll=[0.5, 0.5, 0.51, 0.49, 0.9, 3.0])
    assert mixed.slack == pytest.approx(alone.slack)
    assert mixed.prediction_slack == pytest.approx(alone.prediction_slack)
    assert mixed.slack == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(2.0) * 0.1)
    assert outcome(7.0, [0.0], [5.0, 1.0]).slack is None
    assert outcome(7.0, []).best_control is None


def test_all_runs_are_listed_and_the_best_named_by_evidence_and_by_test_score():
    made = outcome(7.0, [0.0, 0.1], [9.0], nll=[0.6, 0.4, 0.5, 0.7])
    runs = evaluated_runs(made)
    assert [(r.name, r.kind) for r in runs] == [
        ("before", "before"),
        ("retrained", "main"),
        ("control-1", "continued"),
        ("control-2", "continued"),
        ("control-3", "scratch"),
    ]
    assert [r.test.nll for r in runs[1:]] == [0.6, 0.4, 0.5, 0.7]
    assert best_by_evidence(runs) == "control-3"
    assert best_by_predictions(runs) == "control-1"
    untested = [dataclasses.replace(r, test=None) for r in runs]
    assert best_by_predictions(untested) is None
    before = run_before()
    assert evaluated_runs(Outcome(before, {}, before)) == ()
    assert best_by_evidence(()) is None


def test_evaluation_agrees_with_closed_forms(problem):
    """Zero-variance limit: the expected log-likelihood is that of the mean network; H is 0; L^G = L + log 5!."""
    tight = problem.posterior.replace(
        scale={k: np.full_like(v, 1e-7) for k, v in problem.posterior.scale.items()}
    )
    frozen = dataclasses.replace(problem, posterior=tight)
    result = evaluate(frozen, frozen.start(), EvaluationConfig(samples=16, budget=0.2))
    weights = tight.loc
    x, y = problem.train.inputs.numpy(), problem.train.targets.numpy()
    hidden = np.maximum(x @ weights["fc1.weight"].T + weights["fc1.bias"], 0.0)
    mean = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    expected = stats.norm.logpdf(y, mean, 0.3).sum()
    assert result.log_likelihood.value == pytest.approx(expected, abs=1e-3)
    assert result.straddling_entropy.value == pytest.approx(0.0, abs=1e-9)
    assert result.symmetrized.value == pytest.approx(result.elbo.value + math.log(120), abs=1e-9)
    size = sum(v.size for v in weights.values())
    kl = sum((0.5 * (1e-14 + v**2 - 1)).sum() for v in weights.values()) - size * math.log(1e-7)
    assert result.kl == pytest.approx(kl, rel=1e-9)
    assert result.test.nll == pytest.approx(result.point_nll.mean())
    assert result.noise_std == pytest.approx(0.3)


def test_evaluation_is_deterministic_and_paired(problem):
    first, second = (
        evaluate(problem, problem.start(), EvaluationConfig(samples=50, budget=0.2))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.draws, second.draws)
    assert first.symmetrized == second.symmetrized


def test_active_units_are_those_that_the_mean_function_needs(problem):
    """Unit 1 sends nothing on, unit 3 noise alone; the data decide, not the stds of single weights."""
    loc = {n: v.copy() for n, v in problem.posterior.loc.items()}
    loc["fc2.weight"][:, [1, 3]] = 0.0
    posterior = problem.posterior.replace(loc=loc)
    assert active_units(problem, posterior, 0) == problem.posterior.loc["fc1.bias"].size - 2


def test_scratch_keeps_deterministic_weights_and_shapes():
    start = Posterior(
        {"w": np.ones((50, 8)), "b": np.ones(3)}, {"w": np.ones((50, 8)), "b": np.zeros(3)}
    )
    made = scratch(start, 0)
    np.testing.assert_array_equal(made.loc["b"], 1.0)
    assert made.scale["b"].max() == 0.0
    assert made.loc["w"].std() == pytest.approx(0.5, rel=0.1)
    assert not torch.equal(
        torch.from_numpy(made.loc["w"]), torch.from_numpy(scratch(start, 1).loc["w"])
    )
