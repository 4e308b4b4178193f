"""Every permanent estimator of the room against exact values, in every regime.

A new file in ``permanents/estimators/`` is picked up here with nothing else edited.
"""

import math
import sys
import textwrap

import numpy as np
import pytest
from permanent_cases import REGIMES, gaussian, regime

from symdiag.permanents import Effort, estimators, log_permanent
from symdiag.permanents.bounds import ScaledMatrix
from symdiag.permanents.estimators import Task, all_estimators, estimate
from symdiag.permanents.exact import exact_log_permanent, exact_marginals
from symdiag.permanents.scaling import dual_scale

ESTIMATORS = {estimator.name: estimator for estimator in all_estimators()}
SIZES = {"exact-dp": 20}  # all others are for blocks beyond the exact ones


def _task(matrix, rng, *, estimator, inner=None):
    """The matrix scaled, as the planner would hand it over, and what scaling took out."""
    scaled = dual_scale(matrix)
    identity = np.argsort(scaled.columns)
    effort = Effort(max_exact=SIZES.get(estimator, 1), particles=8, runs=2)
    laid_out = None if inner is None else inner[:, scaled.columns]
    return Task(ScaledMatrix(scaled.log_scaled), rng, effort, identity, laid_out), scaled.offset


def test_each_file_of_the_room_holds_one_named_estimator():
    assert len(ESTIMATORS) == len(all_estimators()) >= 3
    assert len({e.order for e in all_estimators()}) == len(ESTIMATORS)
    assert all(len(e.when) > 10 for e in all_estimators())


def test_a_new_file_in_the_room_is_all_it_takes(tmp_path, monkeypatch):
    """One more estimator for two rows, asked before all others, answers for the planner."""
    source = """
        import numpy as np
        from symdiag.permanents.estimators import Estimator
        from symdiag.permanents.results import Part

        def _evaluate(task):
            if task.matrix.size != 2:
                return None
            a = np.exp(task.matrix.log_weights)
            value = float(np.log(a[0, 0] * a[1, 1] + a[0, 1] * a[1, 0]))
            return Part.certain(value, 1e-15, "by-hand", "two rows")

        ESTIMATOR = Estimator("by-hand", -1, "two rows: two products", _evaluate)
    """
    (tmp_path / "by_hand.py").write_text(textwrap.dedent(source))
    monkeypatch.setattr(estimators, "__path__", [*estimators.__path__, str(tmp_path)])
    estimators.all_estimators.cache_clear()
    try:
        matrix = np.array([[0.3, -1.0], [0.2, 0.1]])
        found = log_permanent(matrix, generator=np.random.default_rng(0))
        assert found.method == ("by-hand",)
        assert found.value[0] == pytest.approx(exact_log_permanent(matrix[None])[0], abs=1e-12)
    finally:
        estimators.all_estimators.cache_clear()
        sys.modules.pop("symdiag.permanents.estimators.by_hand", None)


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_called_exact_is_and_what_is_certified_holds(estimator, name):
    rng = np.random.default_rng([12, REGIMES.index(name)])
    for _ in range(25):
        matrix = regime(name, int(rng.integers(3, 9)), rng)
        task, offset = _task(matrix, rng, estimator=estimator)
        if not math.isfinite(offset):
            continue
        part = ESTIMATORS[estimator].evaluate(task)
        if part is None:
            continue
        exact = exact_log_permanent(task.matrix.log_weights[None])[0]
        assert part.certified.lower <= exact + 1e-10
        assert part.certified.upper >= exact - 1e-10
        if part.exact:
            assert abs(part.value - exact) <= 1e-10
            assert part.expected == (part.value, part.value)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimates_are_unbiased_for_the_permanent(estimator):
    """exp of the lower end in expectation averages to the permanent (Jensen's only slack is the
    log).
    """
    rng = np.random.default_rng(13)
    accepted = 0
    for matrix in (
        gaussian(8, 5, 0.4, rng),
        np.tile(rng.normal(size=(2, 4)), (4, 2))[[0] * 5 + [1] * 3],
    ):
        task, _ = _task(matrix, rng, estimator=estimator)
        exact = exact_log_permanent(task.matrix.log_weights[None])[0]
        parts = [ESTIMATORS[estimator].evaluate(task) for _ in range(400)]
        if parts[0] is None:
            continue
        accepted += 1
        ratio = np.exp([part.expected.lower - exact for part in parts])
        assert abs(ratio.mean() - 1.0) <= 4.5 * ratio.std() / 20 + 1e-9
    assert accepted > 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_upper_end_holds_on_average_over_posterior_draws(estimator):
    """The identity of each matrix is a draw from P(pi): conditional runs bound from above."""
    rng = np.random.default_rng(14)
    above, below = [], []
    for _ in range(300):
        matrix = gaussian(7, 10, 0.5, rng)
        if estimator == "identical":  # nearly: the interval is two-sided for every matrix
            matrix = 1e-9 * matrix
        task, _ = _task(matrix, rng, estimator=estimator)
        part = ESTIMATORS[estimator].evaluate(task)
        exact = exact_log_permanent(task.matrix.log_weights[None])[0]
        above.append(part.expected.upper - exact)
        below.append(exact - part.expected.lower)
    for gap in map(np.array, (above, below)):
        assert gap.mean() >= -3 * gap.std() / math.sqrt(300) - 1e-10


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_mean_log_weights_average_to_that_of_the_law(estimator):
    """E log w(pi') less inner entropies over posterior draws: exact marginals give the truth."""
    rng = np.random.default_rng(15)
    gaps = []
    for _ in range(300):
        matrix, inner = gaussian(6, 10, 0.5, rng), rng.uniform(0.0, 0.7, size=(6, 6))
        if estimator == "identical":
            matrix = 1e-9 * matrix
        task, offset = _task(matrix, rng, estimator=estimator, inner=inner)
        part = ESTIMATORS[estimator].evaluate(task)
        _, marginals = exact_marginals(matrix[None])
        truth = float((marginals[0] * (matrix - inner)).sum()) - offset
        gaps.append(part.weight - truth)
    gaps = np.array(gaps)
    assert abs(gaps.mean()) <= 4 * gaps.std() / math.sqrt(300) + 1e-8


def test_the_probable_lower_end_fails_no_more_often_than_delta():
    """Markov over independent runs, delta shared by the blocks: a fifth, then a tenth each of two."""
    rng = np.random.default_rng(16)
    for sampled in (1, 2):
        failures = 0
        for _ in range(400):
            task, _ = _task(gaussian(7, 10, 0.7, rng), rng, estimator="smc")
            effort = Effort(max_exact=1, particles=2, runs=2, delta=0.2, certify=False)
            bare = Task(task.matrix, rng, effort, None, None, False, sampled)
            part = ESTIMATORS["smc"].evaluate(bare)
            failures += part.probable_lower > exact_log_permanent(task.matrix.log_weights[None])[0]
        assert failures <= 400 * 0.2 / sampled


def test_delta_is_shared_by_the_blocks():
    """The same runs with twice the blocks: the end lies log 2 / M lower, M the runs."""
    rng = np.random.default_rng(17)
    matrix = ScaledMatrix(dual_scale(gaussian(9, 10, 0.4, rng)).log_scaled)
    effort = Effort(max_exact=1, particles=4, runs=3)
    ends = [
        estimate(
            Task(matrix, np.random.default_rng(0), effort, None, None, False, k)
        ).probable_lower
        for k in (1, 2, 6)
    ]
    assert ends[0] - ends[1] == pytest.approx(math.log(2) / 3)
    assert ends[0] - ends[2] == pytest.approx(math.log(6) / 3)
