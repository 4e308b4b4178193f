"""Paired differences between two evaluations, and what may honestly be said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from symdiag.estimate import Estimate
from symdiag.training.evaluation import Evaluation

Verdict = Literal["improved", "evidence up, predictions worse", "no measurable benefit", "worse"]


@dataclass(frozen=True)
class Difference:
    """after − before of one quantity; interval of about 95 %, None where none can be had."""

    name: str
    value: float
    lower: float | None
    upper: float | None


def differences(
    before: Evaluation, after: Evaluation, *, order_change: float = 0.0
) -> tuple[Difference, ...]:
    """Every quantity of the report, ``after`` minus ``before``.

    Weight draws are paired (same noise), test scores are paired by data point; H intervals are not
    paired. ``order_change`` is what log|G| differs by, where the networks differ in width.
    """
    fit = _paired(after.draws - before.draws)
    kl = after.kl - before.kl
    entropy = _unpaired(before.straddling_entropy, after.straddling_entropy)
    result = [
        Difference("elbo", fit[0] - kl, fit[1] - kl, fit[2] - kl),
        symmetrized_difference(before, after, order_change=order_change),
        Difference("straddling_entropy", *entropy),
        Difference("log_likelihood", *fit),
        Difference("kl", kl, kl, kl),
        Difference("active_units", float(after.active_units - before.active_units), None, None),
    ]
    if before.test is not None and after.test is not None:
        assert before.point_nll is not None
        assert after.point_nll is not None
        result += [
            Difference("test_nll", *_paired(after.point_nll - before.point_nll)),
            Difference(after.test.metric_name, after.test.metric - before.test.metric, None, None),
            Difference(
                "calibration_error",
                after.test.calibration_error - before.test.calibration_error,
                None,
                None,
            ),
        ]
    return tuple(result)


def symmetrized_difference(
    before: Evaluation,
    after: Evaluation,
    run_slack: float = 0.0,
    *,
    order_change: float = 0.0,
) -> Difference:
    """The difference in L^G; ``run_slack`` widens the interval by what training noise may do."""
    fit = _paired(after.draws - before.draws)
    # L^G = E log p(y|ω) − KL + log|G| − H: what log|G| gains counts like a smaller KL
    kl = after.kl - before.kl - order_change
    entropy = _unpaired(before.straddling_entropy, after.straddling_entropy)
    value = fit[0] - kl - entropy[0]
    # independent errors add in squares; all three are half-widths of about 95 %
    slack = np.hypot(np.hypot(fit[2] - fit[0], run_slack), 0.5 * (entropy[2] - entropy[1]))
    # H's intervals may lie askew about its values: the slack goes around their middle
    middle = fit[0] - kl - 0.5 * (entropy[1] + entropy[2])
    return Difference(
        "symmetrized", value, float(min(value, middle - slack)), float(max(value, middle + slack))
    )


def prediction_difference(
    before: Evaluation, after: Evaluation, run_slack: float = 0.0
) -> Difference | None:
    """The difference in test NLL per point, paired by point; None without test data.

    ``run_slack`` widens the interval by what training noise may do: two runs from different seeds
    differ measurably on a fixed test set although neither is better.
    """
    if before.point_nll is None or after.point_nll is None:
        return None
    value, lower, _ = _paired(after.point_nll - before.point_nll)
    slack = float(np.hypot(value - lower, run_slack))
    return Difference("test_nll", value, value - slack, value + slack)


def run_to_run_slack(controls: Sequence[Evaluation]) -> float | None:
    """Half-width that training noise alone gives a difference of two runs' L^G, 95 %.

    Student's t on the controls' own spread: t · s · √2, with s from runs that differ in nothing but
    the seed; the difference of two such runs has variance 2 s². None for fewer than two runs.
    """
    return _slack([control.symmetrized.value for control in controls])


def prediction_slack(controls: Sequence[Evaluation]) -> float | None:
    """The same for test NLL; None without test data."""
    scores = [control.test.nll for control in controls if control.test is not None]
    return _slack(scores)


def _slack(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    spread = np.std(values, ddof=1)
    return float(stats.t.ppf(0.975, len(values) - 1) * spread * np.sqrt(2.0))


def verdict_of(evidence: Difference, predictions: Difference | None = None) -> Verdict:
    """What two differences say, each only where its interval leaves zero out.

    ``evidence``: in L^G, up is better. ``predictions``: in test NLL, down is better.
    """
    worse_predictions = predictions is not None and _above(predictions)
    if _above(evidence):
        return "evidence up, predictions worse" if worse_predictions else "improved"
    below = evidence.upper is not None and evidence.upper < 0.0
    return "worse" if below or worse_predictions else "no measurable benefit"


def _above(difference: Difference) -> bool:
    return difference.lower is not None and difference.lower > 0.0


def _paired(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> tuple[float, float, float]:
    mean = float(values.mean())
    slack = 2.0 * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return mean, float(mean - slack), float(mean + slack)


def _unpaired(before: Estimate, after: Estimate) -> tuple[float, float, float]:
    # the ends crossed: the widest difference that the two intervals allow
    return after.value - before.value, after.lower - before.upper, after.upper - before.lower
