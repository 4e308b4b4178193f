"""With and without data, polished or not, and with nothing to prune."""

import dataclasses
import math

from report_examples import HOSTILE, TOOL, estimate, report

from symdiag.report.kinds.prune import PruneReport, PruneSettings, Removed, Stage
from symdiag.report.kinds.retrain import Change, TestScores


def _stage(name, width, data=True):
    return Stage(
        name=name,
        widths=(width, 3),
        parameters=10 * width,
        log_order=math.lgamma(width + 1),
        straddling_entropy=estimate(2.0),
        predictive_std=0.2,
        elbo=estimate(-130.0) if data else None,
        symmetrized=estimate(-120.0) if data else None,
        log_likelihood=estimate(-90.0) if data else None,
        kl=40.0 if data else None,
        noise_std=0.3 if data else None,
        test=TestScores(0.5, "rmse", 0.4, 0.1) if data else None,
    )


_CHANGES = (
    Change("symmetrized", 33.0, 32.0, 34.0),
    Change("elbo", 45.0, 44.0, 46.0),
    Change("test_nll", 0.01, -0.01, 0.03),
    Change("rmse", 0.0, None, None),
)
_SETTINGS = PruneSettings(0.1, 0, 1000, 0, "gaussian", "0.3", "the training data")
_BARE = PruneReport(
    model=report().model,
    removed=(Removed(HOSTILE, (0, 2), 6, 4), Removed("fc2", (), 3, 3)),
    mean_change=0.04,
    stages=(_stage("before", 6, False), _stage("pruned", 4, False)),
    changes=(),
    changes_polished=(),
    statement="A narrower net is another model.",
    output=HOSTILE,
    verdict="pruned",
    settings=dataclasses.replace(_SETTINGS, samples=None, likelihood=None, noise=None),
    tool=TOOL,
)
_DATA = dataclasses.replace(
    _BARE,
    stages=(_stage("before", 6), _stage("pruned", 4)),
    changes=_CHANGES,
    output=None,
    settings=_SETTINGS,
)
_POLISHED = dataclasses.replace(
    _DATA,
    stages=(*_DATA.stages, _stage("polished", 4)),
    changes_polished=_CHANGES,
    settings=dataclasses.replace(_SETTINGS, polish_steps=100),
)
_NOTHING = dataclasses.replace(
    _DATA,
    removed=(Removed("fc1", (), 6, 6),),
    mean_change=0.0,
    stages=(_stage("before", 6),),
    changes=(),
    verdict="nothing to prune",
)
EXAMPLES = (_BARE, _DATA, _POLISHED, _NOTHING)
