"""Verdicts, findings and none, hostile names, huge numbers, everything optional."""

import dataclasses
import math

from report_examples import VERDICTS, estimate, hostile_report, report, wide_report

from kind_examples.align import SECTION
from symdiag.diagnostics.diagnosis import Coverage, Importance, ImportanceFit
from symdiag.report.kinds.analyze import Baseline, Elbo, LaplaceEvidence

_ENDLESS = dataclasses.replace(estimate(1.0), lower=-math.inf, upper=math.inf)
_FIT = ImportanceFit(1.25, 0.2, 0.667, 3.5, estimate(-101.0))
_TOTAL = dataclasses.replace(report().total, straddling_entropy=_ENDLESS)
_FULL = dataclasses.replace(
    report("inconclusive"),
    elbo=Elbo(
        estimate(-120.5),
        estimate(-94.25),
        estimate(-80.0),
        math.inf,
        noise_std=0.3,
        importance=Importance(_FIT, dataclasses.replace(_FIT, pareto_k=None, std_error=None)),
    ),
    laplace=LaplaceEvidence(-80.0, 31.5, 4.25, None, None, "the file does not hold loss"),
    coverage=(Coverage(0.9, 0.85, 0.8, 0.89, 250),),
    test={"nll": 0.5631, "rmse": math.inf},
    baseline=Baseline(5, math.log(5), estimate(1.2), True),
    alignment=SECTION,
    total=_TOTAL,
)
EXAMPLES = (
    *map(report, VERDICTS),
    report("ok", findings=()),
    hostile_report(),
    wide_report(),
    _FULL,
)
