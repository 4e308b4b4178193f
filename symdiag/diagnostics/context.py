"""Former place of ``symdiag.diagnostics.diagnosis``; goes as soon as nothing imports it."""

from symdiag.diagnostics.diagnosis import Context, Dropped

__all__ = ["Context", "Dropped"]
