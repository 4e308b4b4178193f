"""Former place of ``symdiag.diagnostics.findings``; goes as soon as nothing imports it."""

from symdiag.diagnostics.findings import CATALOGUE, FAMILIES, collect

__all__ = ["CATALOGUE", "FAMILIES", "collect"]
