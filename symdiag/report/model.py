"""Former place of ``symdiag.report.kinds.analyze``; goes as soon as nothing imports it."""

from symdiag.diagnostics.diagnosis import (
    Cluster,
    Finding,
    GroupReport,
    NeuronInfo,
    Severity,
    StraddlingVerdict,
    Total,
)
from symdiag.report.codec import SCHEMA_VERSION, to_object, to_plain
from symdiag.report.kinds.analyze import Baseline, Elbo, ModelInfo, Report, Settings
from symdiag.report.parts import LayerInfo, Uncovered

__all__ = [
    "SCHEMA_VERSION",
    "Baseline",
    "Cluster",
    "Elbo",
    "Finding",
    "GroupReport",
    "LayerInfo",
    "ModelInfo",
    "NeuronInfo",
    "Report",
    "Settings",
    "Severity",
    "StraddlingVerdict",
    "Total",
    "Uncovered",
    "to_object",
    "to_plain",
]
