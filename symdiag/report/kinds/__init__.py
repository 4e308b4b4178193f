"""The kinds of reports. ``KIND.py`` declares the dataclass of one kind and names it ``KIND``.

That dataclass is the only declaration: JSON, JSON Schema and decoder follow from it (``symdiag.report.codec``).
The file's name is the report's ``kind``; a kind is found by listing this package and needs a view of the same name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from symdiag.errors import UnreadableError
from symdiag.report.codec import SCHEMA_VERSION, decode


def kind_names() -> tuple[str, ...]:
    """Every kind of report, without importing any."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if not n.startswith("_")))


def kind_class(name: str) -> type[Any]:
    """The dataclass of a kind that exists."""
    found: type[Any] = importlib.import_module(f"{__name__}.{name}").KIND
    return found


def from_dict(data: Mapping[str, Any]) -> Any:
    """The report dataclass that a JSON object describes.

    Raises:
        UnreadableError: Another schema version, an unknown kind, or a malformed object (``bad-report``).
    """
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != SCHEMA_VERSION:
        raise UnreadableError(
            f"the report has schema_version {version!r}; this symdiag reads {SCHEMA_VERSION}",
            code="bad-report",
            hint="re-render it with the symdiag that made it, or analyse the checkpoint again",
        )
    kind = data.get("kind", "analyze")
    if kind not in kind_names():
        raise UnreadableError(f"unknown kind of report {kind!r}", code="bad-report")
    return decode(kind_class(kind), data)
