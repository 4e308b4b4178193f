"""Former place of ``symdiag.diagnostics.diagnose``; goes as soon as nothing imports it."""

from symdiag.diagnostics.diagnose import DEFAULT_MAX_STRADDLING
from symdiag.diagnostics.diagnose import straddling_verdict as judge

__all__ = ["DEFAULT_MAX_STRADDLING", "judge"]
