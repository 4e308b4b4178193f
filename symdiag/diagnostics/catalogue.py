"""All finding codes, collected from the families in ``findings/`` (imports neither torch nor scipy)."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType

from symdiag.diagnostics import findings
from symdiag.diagnostics.context import Context
from symdiag.diagnostics.explanation import Explanation
from symdiag.diagnostics.model import Finding


def _families() -> tuple[ModuleType, ...]:
    names = sorted(m.name for m in pkgutil.iter_modules(findings.__path__))
    return tuple(importlib.import_module(f"{findings.__name__}.{name}") for name in names)


FAMILIES = _families()

CATALOGUE: dict[str, Explanation] = {e.code: e for family in FAMILIES for e in family.EXPLANATIONS}
"""Code → explanation, in code order."""
CATALOGUE = dict(sorted(CATALOGUE.items()))

_SEVERITY = {"error": 0, "warning": 1, "info": 2}


def collect(context: Context) -> tuple[Finding, ...]:
    """The findings of every family, worst first."""
    found: list[Finding] = []
    for family in FAMILIES:
        find: Callable[[Context], Iterable[Finding]] = family.find
        found.extend(find(context))
    return tuple(sorted(found, key=lambda f: (_SEVERITY[f.severity], f.code, f.group or "")))
