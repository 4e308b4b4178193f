"""Former place of ``symdiag.report.parts``; goes as soon as nothing imports it."""

from symdiag.report.kinds.align import (
    Agreement,
    AlignReport,
    AlignSettings,
    Distance,
    GroupAlignment,
    OnData,
    PathReport,
    Proof,
    UnitMatch,
)
from symdiag.report.kinds.universe import RunAlignment, SpreadReport, UniverseReport
from symdiag.report.parts import Side

__all__ = [
    "Agreement",
    "AlignReport",
    "AlignSettings",
    "Distance",
    "GroupAlignment",
    "OnData",
    "PathReport",
    "Proof",
    "RunAlignment",
    "Side",
    "SpreadReport",
    "UnitMatch",
    "UniverseReport",
]
