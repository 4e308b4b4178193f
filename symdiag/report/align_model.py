"""Former place of ``symdiag.report.kinds._common``; goes as soon as nothing imports it."""

from symdiag.report.kinds._common import Side
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
