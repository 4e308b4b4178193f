"""Runs that agree, and runs that do not."""

import dataclasses

from report_examples import HOSTILE, TOOL

from symdiag.report.kinds.align import AlignSettings
from symdiag.report.kinds.universe import RunAlignment, SpreadReport, UniverseReport
from symdiag.report.parts import ChanceShare, Side


def _run(path):
    return RunAlignment(
        model=Side(path, "0" * 64, "npz/plain"),
        distance_before=3.0,
        distance=1.0,
        status="bounded",
        transpositions={"fc1": 2},
        permutations={"fc1": (1, 2, 0)},
        signs={"fc1": (1, -1, 1)},
    )


_REPORT = UniverseReport(
    runs=(_run("a.npz"), _run("b.npz"), _run(HOSTILE)),
    before=SpreadReport(5.0, 1.0, 2.4, 4.0, {"fc1.weight": 2.0, HOSTILE: None}),
    after=SpreadReport(0.1, 1.0, 1.05, None, {"fc1.weight": 1.0, HOSTILE: None}),
    worst_pair=0.4,
    relabelling_share=0.98,
    chance=ChanceShare(0.31, 0.04, 0.45, 12),
    verdict="same mode up to symmetry",
    settings=AlignSettings(0, "kl", 4),
    tool=TOOL,
)
EXAMPLES = (
    _REPORT,
    dataclasses.replace(
        _REPORT, verdict="different", worst_pair=None, chance=None, assumptions=(HOSTILE,)
    ),
)
