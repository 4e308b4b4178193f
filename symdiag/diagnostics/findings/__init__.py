"""Findings, by family: each defines ``EXPLANATIONS`` and ``find(context) -> Iterable[Finding]``.

A family is found by listing this package; importing them needs neither torch nor scipy.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType

from symdiag.diagnostics.diagnosis import Context, Finding
from symdiag.errors import Explanation


def family_names() -> tuple[str, ...]:
    """Every family of findings."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if not n.startswith("_")))


FAMILIES: tuple[ModuleType, ...] = tuple(
    importlib.import_module(f"{__name__}.{name}") for name in family_names()
)

CATALOGUE: dict[str, Explanation] = {
    e.code: e for e in sorted((e for f in FAMILIES for e in f.EXPLANATIONS), key=lambda e: e.code)
}
"""Code → explanation, in code order."""

_SEVERITY = {"error": 0, "warning": 1, "info": 2}


def collect(context: Context) -> tuple[Finding, ...]:
    """The findings of every family, worst first."""
    found: list[Finding] = []
    for family in FAMILIES:
        find: Callable[[Context], Iterable[Finding]] = family.find
        found.extend(find(context))
    return tuple(sorted(found, key=lambda f: (_SEVERITY[f.severity], f.code, f.group or "")))
