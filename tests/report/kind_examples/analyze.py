"""Verdicts, findings and none, hostile names, huge numbers, everything optional."""

import dataclasses
import math

from report_examples import VERDICTS, estimate, hostile_report, report, wide_report

from kind_examples.align import SECTION
from symdiag.diagnostics.diagnosis import Coverage, Importance, ImportanceFit
from symdiag.diagnostics.kl_weight.result import Cause, Continuation, KlWeight, Part
from symdiag.report.kinds.analyze import Baseline, Elbo, LaplaceEvidence

_ENDLESS = dataclasses.replace(estimate(1.0), lower=-math.inf, upper=math.inf)
_FIT = ImportanceFit(1.25, 0.2, 0.667, 3.5, estimate(-101.0))
_TOTAL = dataclasses.replace(report().total, straddling_entropy=_ENDLESS)
_WEIGHT = KlWeight(
    value=9.0,
    std_error=0.05,
    lower=8.9,
    upper=math.inf,
    method="local-reparametrization",
    samples=3072,
    status="ok",
    fit=0.98,
    scatter=0.05,
    unsettled=0.1,
    intercept=0.01,
    intercept_error=math.inf,
    informative=40.0,
    convention="summed",
    means=Part("means", None, math.inf, 0.0),
    halves=(Part("first half", 9.1, 0.1, 20.0), Part("second half", 8.9, 0.1, 20.0)),
    layers=(Part("fc1.weight", 9.0, 0.1, 30.0), Part("fc2\x1b[31m", 9.1, 0.1, 3.0)),
    causes=(Cause("full-per-batch", 9.27, "KL in full on every minibatch", "torchbnn", 100),),
    reasons=(),
    assumptions=("gaussian likelihood", "noise std 0.3"),
    noise_std=0.3,
    squared_error_weight=0.01,
    points=((-0.9, -8.1, 0.01),),
    continued=Continuation(500, 9.1, "ok", 0.011, 0.4),
)
_FULL = dataclasses.replace(
    report("inconclusive"),
    elbo=Elbo(
        estimate(-120.5),
        estimate(-94.25),
        estimate(-80.0),
        math.inf,
        noise_std=0.3,
        importance=Importance(_FIT, dataclasses.replace(_FIT, pareto_k=None, std_error=None)),
        kl_weight=_WEIGHT,
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
