"""Alignment of posteriors: costs, Hungarian coordinate descent, certificates, meaning, many models."""

from symdiag.alignment.align import Alignment, align
from symdiag.alignment.certificate import Certificate, Matches
from symdiag.alignment.cost import available_costs
from symdiag.alignment.path import Path, function_gap, path_between
from symdiag.alignment.universe import Spread, Universe, align_many

__all__ = [
    "Alignment",
    "Certificate",
    "Matches",
    "Path",
    "Spread",
    "Universe",
    "align",
    "align_many",
    "available_costs",
    "function_gap",
    "path_between",
]
