"""Two reports on the same architecture, number by number: has straddling got worse?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symdiag.errors import UsageError
from symdiag.estimate import Estimate
from symdiag.report.kinds.analyze import Report
from symdiag.report.kinds.compare import (
    Compared,
    Comparison,
    ComparisonSettings,
    Difference,
    Outcome,
)

DEFAULT_TOLERANCE = 0.1
"""Nats of straddling entropy that a new checkpoint may add."""


def compare_reports(
    before: Report,
    after: Report,
    tolerance: float = DEFAULT_TOLERANCE,
    *,
    run: dict[str, Any] | None = None,
) -> Comparison:
    """Differences per group and in total; the verdict is that of the total straddling entropy.

    A regression must exceed max(tolerance, 3 standard errors of the difference, the two runs taken
    as independent) and whatever width the methods' brackets add; between the two, the outcome is
    inconclusive.

    Raises:
        UsageError: The reports have different groups, or sign flips in only one of them.
    """
    _check_comparable(before, after)
    entropies = tuple(
        difference(name, a.straddling_entropy, b.straddling_entropy, tolerance)
        for name, a, b in _pairs(before, after)
    )
    # Less information means more straddling: compare with the signs swapped.
    informations = tuple(
        difference(
            name, a.mutual_information, b.mutual_information, tolerance, higher_is_better=True
        )
        for name, a, b in _pairs(before, after)
    )
    return Comparison(
        before=_side(before),
        after=_side(after),
        straddling_entropy=entropies,
        mutual_information=informations,
        verdict=entropies[-1].outcome,
        settings=ComparisonSettings(tolerance),
        tool=after.tool,
        run=run or {},
    )


def difference(
    name: str,
    before: Estimate,
    after: Estimate,
    tolerance: float,
    *,
    higher_is_better: bool = False,
) -> Difference:
    """The difference of two estimates and whether it is one."""
    # inf - inf is nan, which would compare as neither better nor worse: inf says unknown
    delta = after.value - before.value if math.isfinite(after.value - before.value) else math.inf
    error = _joint_error(before, after)
    # without an error on both sides nothing can be told apart from chance
    certain = max(tolerance, 3.0 * error) if error is not None else math.inf
    margin = certain + _method_slack(before) + _method_slack(after)
    outcome = _outcome(-delta if higher_is_better else delta, certain, margin)
    return Difference(name, before.value, after.value, delta, error, margin, outcome)


def _outcome(worse_by: float, certain: float, margin: float) -> Outcome:
    # before the sign is looked at: an infinite difference exceeds no infinite margin
    if math.isinf(margin):
        return "inconclusive"
    if worse_by > margin:
        return "regressed"
    if worse_by < -margin:
        return "improved"
    # also no wide bracket: being unable to see a change is not evidence that there is none
    return "unchanged" if abs(worse_by) <= certain and margin <= 2 * certain else "inconclusive"


def _joint_error(before: Estimate, after: Estimate) -> float | None:
    if before.std_error is None or after.std_error is None:
        return None
    # variances add, as the two runs drew their weights independently
    return math.hypot(before.std_error, after.std_error)


def _method_slack(estimate: Estimate) -> float:
    """Half of the interval's width that is not Monte Carlo error."""
    # the interval's own Monte Carlo part is two standard errors; counted in the joint error already
    monte_carlo = 2.0 * (estimate.std_error or 0.0)
    return max(0.0, (estimate.upper - estimate.lower) / 2.0 - monte_carlo)


def _pairs(before: Report, after: Report) -> Iterator[tuple[str, Any, Any]]:
    for a, b in zip(before.groups, after.groups, strict=True):
        yield a.name, a, b
    yield "total", before.total, after.total


def _side(report: Report) -> Compared:
    settings = report.settings
    return Compared(
        report.model.path,
        report.model.sha256,
        report.verdict,
        settings.estimator,
        settings.samples,
        settings.seed,
    )


def _check_comparable(before: Report, after: Report) -> None:
    """Refuse different groups.

    Methods may differ: each follows its regime, and intervals say what they leave open.
    """
    # signs as well: flips add log 2 per unit to the group's order, which is no change of the model
    shapes = [[(g.name, g.width, g.signed) for g in r.groups] for r in (before, after)]
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"the two have different groups: {_describe(before)} and {_describe(after)}",
            code="not-comparable",
            hint="compare checkpoints of one architecture, analysed with the same --activation",
        )


def _describe(report: Report) -> str:
    return (
        ", ".join(f"{g.name}:{g.width}{'±' if g.signed else ''}" for g in report.groups) or "none"
    )
