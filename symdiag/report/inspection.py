"""Former place of ``symdiag.report.kinds.inspect``; goes as soon as nothing imports it."""

from symdiag.report.kinds.inspect import GroupOutline, Inspection, StoredTensor, WeightTensor
from symdiag.report.parts import ErrorObject as Problem

__all__ = ["GroupOutline", "Inspection", "Problem", "StoredTensor", "WeightTensor"]
