"""Draws that switch, draws that do not, and a network without labels."""

import dataclasses
import math

from report_examples import HOSTILE, TOOL, estimate

from symdiag.report.kinds.samples import (
    DrawsInfo,
    GroupSwitchingReport,
    RhatReport,
    SamplesReport,
    SamplesSettings,
    TensorMoments,
    UnitSwitching,
)
from symdiag.report.parts import Uncovered

_UNITS = (UnitSwitching(0, 0.5, 0.25), UnitSwitching(1, 0.0, 0.0))
_INPUT = DrawsInfo(
    paths=("draws.npz",),
    sha256=("0" * 64,),
    draws=20,
    chains=4,
    parameters=12,
    covered_parameters=10,
    activation=None,
    uncovered=(Uncovered("out.bias", 2, "output units have fixed labels"),),
    ignored=((HOSTILE, "noise buffer"),),
    assumptions=("layers form a chain",),
)
_REPORT = SamplesReport(
    input=_INPUT,
    off=0.75,
    labellings=6,
    log_order=3.18,
    groups=(
        GroupSwitchingReport("fc1", 2, True, 2.08, 0.75, 6, estimate(1.5), estimate(0.1), _UNITS),
    ),
    tensors=(TensorMoments(HOSTILE, 8, 1.0, 2.0, 3.0, 0.0),),
    variance_before=3.0,
    variance_after=1.0,
    relabelling_share=2 / 3,
    rhat_before=RhatReport(math.inf, 1.5, 1.0),
    rhat_after=RhatReport(1.01, 1.0, 0.0),
    two_modes=0.9,
    straddling_before=estimate(1.5),
    straddling_after=estimate(0.1),
    converged=True,
    agreement=0.5,
    notes=("a note",),
    verdict="label switching",
    settings=SamplesSettings(0, None, 64, 0.05),
    tool=TOOL,
)
EXAMPLES = (
    _REPORT,
    dataclasses.replace(
        _REPORT, verdict="one labelling", rhat_before=None, rhat_after=None, two_modes=None
    ),
    dataclasses.replace(
        _REPORT,
        verdict="not-applicable",
        groups=(),
        tensors=(),
        notes=(),
        input=dataclasses.replace(_INPUT, paths=("a", "b"), chains=None),
    ),
)
