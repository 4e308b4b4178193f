"""Each verdict, with and without a control run and test data."""

import dataclasses
import math

from report_examples import HOSTILE, TOOL, estimate, report

from symdiag.report.kinds.retrain import (
    Bound,
    Change,
    EvaluatedRun,
    Figures,
    RacedStart,
    RetrainReport,
    RetrainSettings,
    TestScores,
    TrainingCurve,
)


def _figures(name, test=None):
    return Figures(
        name=name,
        elbo=estimate(-130.0),
        symmetrized=estimate(-120.0),
        straddling_entropy=estimate(9.0),
        log_likelihood=estimate(-90.0),
        kl=40.0,
        active_units=3,
        units=4,
        noise_std=0.3,
        test=test,
    )


_SETTINGS = RetrainSettings(
    objective="symmetrized",
    steps=100,
    steps_taken=90,
    learning_rate=0.01,
    batch_size=20,
    draws=4,
    seed=0,
    marginals="permanent",
    num_elements=8,
    start="checkpoint",
    likelihood="gaussian",
    noise="0.3",
    prior="std 1",
    control_runs=2,
    evaluation_samples=64,
)
_CHANGES = (
    Change("symmetrized", 7.5, 5.0, 10.0),
    Change("elbo", -1.0, None, None),
    Change("active_units", 1.0, 1.0, 1.0),
)
_SCORES = TestScores(0.56, "rmse", 0.4, math.inf)
_SCORED = (*_CHANGES, Change("test_nll", 0.01, 0.0, 0.02), Change("rmse", 0.0, None, None))
_REPORT = RetrainReport(
    model=report().model,
    log_order=3.18,
    before=_figures("before"),
    control=None,
    retrained=_figures("retrained"),
    compared_with="before",
    changes=_CHANGES,
    changes_to_before=_CHANGES,
    run_to_run=None,
    bound=Bound("retrained", -math.inf, "log p(Y|X) >= ..."),
    output=HOSTILE,
    verdict="improved",
    settings=_SETTINGS,
    tool=TOOL,
)
_CONTROLLED = dataclasses.replace(
    _REPORT,
    before=_figures("before", _SCORES),
    control=_figures("control", _SCORES),
    retrained=_figures("retrained", _SCORES),
    compared_with="control",
    changes=_SCORED,
    run_to_run=1.5,
    output=None,
    curves=tuple(
        TrainingCurve(run, (10, 20), (-140.0, -130.0), (12.0, 9.0))
        for run in ("main", "control-1", "control-2")
    ),
)


def _run(name, kind, test=_SCORES):
    return EvaluatedRun(name, kind, estimate(-131.0), estimate(8.0), estimate(-121.0), test)


_LISTED = dataclasses.replace(
    _CONTROLLED,
    compared_run="control-2",
    runs=(
        _run("before", "before"),
        _run("retrained", "main"),
        _run("control-1", "continued"),
        _run("control-2", "scratch"),
    ),
    race=(
        RacedStart("start-0", "start", 20, estimate(-123.0), False),
        RacedStart("start-1", "draw", 20, estimate(-122.0), True),
        RacedStart("start-2", "scratch", 20, estimate(-124.0), False),
    ),
    best_evidence="retrained",
    best_predictions="control-2",
)
_UNTESTED = dataclasses.replace(
    _REPORT,
    compared_run="before",
    runs=(_run("before", "before", None), _run("retrained", "main", None)),
    best_evidence="before",
    settings=dataclasses.replace(_SETTINGS, control_runs=0, start="scratch"),
)
EXAMPLES = (
    _REPORT,
    _CONTROLLED,
    _LISTED,
    _UNTESTED,
    *(
        dataclasses.replace(_CONTROLLED, verdict=verdict)
        for verdict in (
            "no measurable benefit",
            "worse",
            "evidence up, predictions worse",
            "nothing to gain",
        )
    ),
)
