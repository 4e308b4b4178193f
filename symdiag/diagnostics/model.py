"""Former place of ``symdiag.diagnostics.diagnosis``; goes as soon as nothing imports it."""

from symdiag.diagnostics.diagnosis import Cluster, Finding, GroupReport, NeuronInfo, Severity, Total

__all__ = ["Cluster", "Finding", "GroupReport", "NeuronInfo", "Severity", "Total"]
