"""What a finding code means, from the catalogue that ``symdiag explain`` prints."""

from __future__ import annotations

import re

from symdiag.diagnostics.catalogue import CATALOGUE


def meaning(code: str) -> str:
    """The catalogue's first sentence on ``code``; empty for codes of another version."""
    known = CATALOGUE.get(code)
    return re.split(r"(?<=[.!?]) ", known.meaning, maxsplit=1)[0] if known is not None else ""
