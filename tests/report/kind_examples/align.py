"""One pair, with and without data."""

import dataclasses

from report_examples import HOSTILE, TOOL

from symdiag.report.kinds.align import (
    Agreement,
    AlignedTo,
    AlignReport,
    AlignSettings,
    Distance,
    GroupAlignment,
    OnData,
    PathReport,
    Proof,
    UnitMatch,
)
from symdiag.report.parts import Side

_UNITS = (UnitMatch(0, 1, 1, 0.5, 0.25, False), UnitMatch(1, 0, -1, 0.25, None, True))
_PATH = PathReport((0.5, 0.7, 0.5), (-9.0, -12.0, -9.0), 0.2, 3.0)
_REPORT = AlignReport(
    model=Side("model.pt", "0" * 64, "torch-zip/blitz"),
    reference=Side(HOSTILE, "1" * 64, "npz/plain"),
    groups=(GroupAlignment("fc1", 2, True, 1, 2, 1, 0.25, True, (1,), _UNITS),),
    distance=Distance("w2", "squared weights", 4.0, 1.0, 0.75),
    certificate=Proof("optimal", "optimal (assignment)", 1.0, 0.0, "assignment", 1.0, 1),
    before=Agreement(2.0, 0.9),
    after=Agreement(None, 0.1),
    verdict="same mode up to symmetry",
    settings=AlignSettings(0, "w2", None),
    tool=TOOL,
    assumptions=("layers form a chain",),
    run={"seconds": 0.5},
)
_DATA = OnData("data.npz", 20, 32, "gaussian", False, 0.01, 1e-9, (0.0, 0.5, 1.0), _PATH, _PATH)
_BOUNDED = Proof("bounded", "within 5 %", 0.9, 0.1, "triangle", 0.5, 9)
EXAMPLES = (
    _REPORT,
    dataclasses.replace(
        _REPORT, data=_DATA, verdict="same function, different mode", certificate=_BOUNDED
    ),
    dataclasses.replace(_REPORT, verdict="different", groups=(), assumptions=()),
)
SECTION = AlignedTo(
    **{field.name: getattr(_REPORT, field.name) for field in dataclasses.fields(AlignedTo)}
)
