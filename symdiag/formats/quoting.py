"""Names that come from a file, made safe to print on one line."""

from __future__ import annotations

from collections.abc import Iterable

from symdiag.errors import one_line

MAX_SHOWN = 80


def shown(name: object) -> str:
    """``name`` with unprintable characters escaped, cut to a readable length."""
    text = one_line(name)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def listed(names: Iterable[object], limit: int = 5) -> str:
    """``names`` as one comma-separated line, with the count of those left out."""
    every = [shown(name) for name in names]
    rest = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {rest} more" if rest > 0 else "")
