"""The kinds of reports. ``KIND.py`` declares the dataclass of one kind and names it ``KIND``.

That dataclass is the only declaration: JSON, JSON Schema and decoder follow from it
(``symdiag.report.codec``). The file's name is the report's ``kind``; a kind is found by listing
this package and needs a view of the same name.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def kind_names() -> tuple[str, ...]:
    """Every kind of report, without importing any."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if not n.startswith("_")))


def kind_class(name: str) -> type[Any]:
    """The dataclass of a kind that exists."""
    found: type[Any] = importlib.import_module(f"{__name__}.{name}").KIND
    return found
