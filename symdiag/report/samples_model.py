"""Former place of ``symdiag.report.kinds.samples``; goes as soon as nothing imports it."""

from symdiag.report.kinds.samples import (
    DrawsInfo,
    GroupSwitchingReport,
    RhatReport,
    SamplesReport,
    SamplesSettings,
    SamplesVerdict,
    TensorMoments,
    UnitSwitching,
)

__all__ = [
    "DrawsInfo",
    "GroupSwitchingReport",
    "RhatReport",
    "SamplesReport",
    "SamplesSettings",
    "SamplesVerdict",
    "TensorMoments",
    "UnitSwitching",
]
