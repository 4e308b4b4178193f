"""Former place of ``symdiag.report.kinds.inspect``; goes as soon as nothing imports it."""

from symdiag.report.kinds._common import ErrorObject as Problem
from symdiag.report.kinds.inspect import GroupOutline, Inspection, StoredTensor, WeightTensor

__all__ = ["GroupOutline", "Inspection", "Problem", "StoredTensor", "WeightTensor"]
