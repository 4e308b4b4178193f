"""Reports: one declaration per kind, one view of it, one renderer per format.

The names below are imported on first use: ``--help`` lists formats and kinds without loading any.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symdiag.report.codec import SCHEMA_VERSION
    from symdiag.report.document import RenderOptions
    from symdiag.report.kinds.analyze import Report
    from symdiag.report.reading import Failure, from_dict
    from symdiag.report.renderers import format_names, format_of
    from symdiag.report.rendering import render, render_all

_HOMES = {
    "SCHEMA_VERSION": "codec",
    "Failure": "reading",
    "RenderOptions": "document",
    "Report": "kinds.analyze",
    "format_names": "renderers",
    "format_of": "renderers",
    "from_dict": "reading",
    "render": "rendering",
    "render_all": "rendering",
}

__all__ = [
    "SCHEMA_VERSION",
    "Failure",
    "RenderOptions",
    "Report",
    "format_names",
    "format_of",
    "from_dict",
    "render",
    "render_all",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
