"""Several posteriors on one data set: figures side by side, differences with what chance allows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import UsageError
from symdiag.estimate import Estimate
from symdiag.estimators.values import mean_and_error
from symdiag.report.kinds.analyze import Elbo, Report
from symdiag.report.kinds.evidence import Candidate, Contrast, EvidenceTable, Quantity
from symdiag.tasks._evidence import Evidence
from symdiag.tasks._inputs import TOOL
from symdiag.training.evaluation import Evaluation

_ALL_PAIRS = 30  # files up to which every pair is compared; beyond, each with the first


@dataclass(frozen=True)
class Analysis:
    """A report with the draws behind its evidence, which reports do not hold."""

    report: Report
    evidence: Evidence


def evidence_table(found: Sequence[Analysis], run: dict[str, Any] | None = None) -> EvidenceTable:
    """The table of analyses on one data set, in their order.

    Raises:
        UsageError: Fewer than two have evidence (``not-comparable``).
    """
    judged = [a for a in found if a.report.elbo is not None and a.evidence.evaluation is not None]
    if len(judged) < 2:
        raise UsageError("fewer than two posteriors with evidence", code="not-comparable")
    every = itertools.combinations(judged, 2)
    pairs = every if len(judged) <= _ALL_PAIRS else zip(itertools.repeat(judged[0]), judged[1:])
    contrasts = tuple(c for first, second in pairs for c in _contrasts(first, second))
    apart = any(c.significant for c in contrasts if c.quantity == "symmetrized")
    return EvidenceTable(
        models=tuple(_candidate(a.report) for a in judged),
        contrasts=contrasts,
        verdict="told-apart" if apart else "not-told-apart",
        seed=judged[0].report.settings.seed,
        tool=TOOL,
        run=run or {},
    )


def _candidate(report: Report) -> Candidate:
    elbo, total = _elbo(report), report.total
    weights, weight = elbo.importance, elbo.kl_weight
    plain = None if weights is None else weights.plain
    symmetrized = None if weights is None else weights.symmetrized
    best = symmetrized or plain
    return Candidate(
        name=report.model.path,
        sha256=report.model.sha256,
        log_order=total.log_order,
        elbo=elbo.standard,
        mutual_information=total.mutual_information,
        straddling_entropy=total.straddling_entropy,
        symmetrized=elbo.symmetrized,
        kl_weight=None if weight is None else weight.value,
        kl_weight_status="" if weight is None else weight.status,
        pareto_k=None if plain is None else plain.pareto_k,
        pareto_k_symmetrized=None if symmetrized is None else symmetrized.pareto_k,
        importance_bound=None if best is None else best.bound,
        test=report.test,
    )


def _contrasts(first: Analysis, second: Analysis) -> Iterator[Contrast]:
    """Differences of L, H, L^G and, with test data, the NLL per point."""
    before, after = _elbo(first.report), _elbo(second.report)
    old, new = _evaluation(first), _evaluation(second)
    # one seed draws the same noise for posteriors of as many weights: their errors cancel
    paired = _same_noise(first.report, second.report) and len(old.draws) == len(new.draws)
    error = (
        _paired_error(new.draws, old.draws) if paired else _joint(before.standard, after.standard)
    )
    entropies = [r.total.straddling_entropy for r in (first.report, second.report)]
    # H is estimated from draws of its own, and its errors are taken as independent
    entropy_error, slack = _joint(*entropies), sum(map(_method_slack, entropies))
    both = None if error is None or entropy_error is None else math.hypot(error, entropy_error)
    rows: list[tuple[Quantity, float, float | None, float, bool]] = [
        ("elbo", after.standard.value - before.standard.value, error, 0.0, paired),
        (
            "straddling_entropy",
            entropies[1].value - entropies[0].value,
            entropy_error,
            slack,
            False,
        ),
        ("symmetrized", after.symmetrized.value - before.symmetrized.value, both, slack, paired),
    ]
    if old.point_nll is not None and new.point_nll is not None:
        nll, nll_error = mean_and_error(new.point_nll - old.point_nll)
        rows.append(("nll", nll, nll_error, 0.0, True))
    names = first.report.model.path, second.report.model.path
    for quantity, difference, std_error, left_open, same in rows:
        margin = math.inf if std_error is None else 3.0 * std_error + left_open
        # inf - inf is nan: as unknown as an infinite difference
        value = difference if math.isfinite(difference) else math.inf
        significant = math.isfinite(value) and abs(value) > margin
        yield Contrast(*names, quantity, value, std_error, margin, significant, same)


def _same_noise(first: Report, second: Report) -> bool:
    """Whether weights are as many and in the same order, so that one seed moves them alike."""
    same_layers = first.model.layers == second.model.layers
    return same_layers and first.model.parameters == second.model.parameters


def _paired_error(after: Array, before: Array) -> float | None:
    return mean_and_error(np.asarray(after - before, dtype=np.float64))[1]


def _joint(first: Estimate, second: Estimate) -> float | None:
    if first.std_error is None or second.std_error is None:
        return None
    return math.hypot(first.std_error, second.std_error)


def _method_slack(estimate: Estimate) -> float:
    """Half of the interval's width that is not Monte Carlo error."""
    return max(0.0, 0.5 * (estimate.upper - estimate.lower) - 2.0 * (estimate.std_error or 0.0))


def _elbo(report: Report) -> Elbo:
    assert report.elbo is not None
    return report.elbo


def _evaluation(found: Analysis) -> Evaluation:
    assert found.evidence.evaluation is not None
    return found.evidence.evaluation
