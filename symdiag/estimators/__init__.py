"""Straddling entropy and its brackets: exact, layerwise, joint sandwich, and the paper's baseline."""

from symdiag.estimators.densities import SlotDensity, log_density_matrices, separations
from symdiag.estimators.evaluator import StraddlingEstimator
from symdiag.estimators.infonce import infonce
from symdiag.estimators.log_ratio import tractable
from symdiag.estimators.straddling import GroupStraddling, Straddling, estimate_straddling

__all__ = [
    "GroupStraddling",
    "SlotDensity",
    "Straddling",
    "StraddlingEstimator",
    "estimate_straddling",
    "infonce",
    "log_density_matrices",
    "separations",
    "tractable",
]
