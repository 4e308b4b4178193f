"""Former place of ``symdiag.report.kinds.retrain``; goes as soon as nothing imports it."""

from symdiag.report.kinds.retrain import (
    Bound,
    Change,
    Figures,
    RetrainReport,
    RetrainSettings,
    RetrainVerdict,
    TestScores,
)

__all__ = [
    "Bound",
    "Change",
    "Figures",
    "RetrainReport",
    "RetrainSettings",
    "RetrainVerdict",
    "TestScores",
]
