"""The figures. ``NAME.py`` defines ``FIGURE``, a ``Figure``; its file's name is the figure's.

A figure is found by listing this package. It draws from reports alone, so that a stored JSON report
gives the same figure as the run that made it. Matplotlib is loaded when something is drawn, never
when a figure's module is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

from symdiag.errors import UsageError
from symdiag.report.figures._parts import (
    Figure,
    Panel,
    Style,
    file_label,
    style_of,
    subjects,
    theme_names,
)

__all__ = [
    "Figure",
    "Panel",
    "Style",
    "figure_names",
    "figures_of",
    "file_label",
    "find_figure",
    "panels_of",
    "style_of",
    "subjects",
    "theme_names",
]


def figure_names() -> tuple[str, ...]:
    """Every figure, without importing any."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if not n.startswith("_")))


def find_figure(name: str) -> Figure:
    """The figure of a name.

    Raises:
        UsageError: There is no such figure.
    """
    if name not in figure_names():
        raise UsageError(f"unknown figure {name!r}", hint=f"one of {', '.join(figure_names())}")
    found: Figure = importlib.import_module(f"{__name__}.{name}").FIGURE
    return found


def figures_of(reports: Sequence[Any]) -> tuple[tuple[str, tuple[Panel, ...]], ...]:
    """(name, panels) of every figure that has something to show of these reports, first things
    first.
    """
    found = [(find_figure(name).rank, name, panels_of(name, reports)) for name in figure_names()]
    return tuple((name, panels) for _, name, panels in sorted(found, key=lambda f: f[:2]) if panels)


def panels_of(name: str, reports: Sequence[Any]) -> tuple[Panel, ...]:
    """The panels of one figure; none where these reports hold nothing that it shows."""
    figure = find_figure(name)
    shown = [report for report in reports if report.kind in figure.kinds]
    if figure.of_many:
        return figure.panels(shown) if len(shown) > 1 else ()
    # a figure of one report has no place on a page about several
    return figure.panels(shown[0]) if len(reports) == len(shown) == 1 else ()
