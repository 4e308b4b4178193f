"""What a finding code means, from the catalogue that ``symdiag explain`` prints."""

from __future__ import annotations


def meaning(code: str) -> str:
    """The catalogue's sentence on ``code``; empty for codes of another version."""
    try:
        from symdiag.diagnostics.catalogue import CATALOGUE
    except ModuleNotFoundError:  # pragma: no cover
        return ""
    known = CATALOGUE.get(code)
    return known.meaning if known is not None else ""
