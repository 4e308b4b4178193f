"""The output formats. ``FORMAT.py`` defines ``EXTENSIONS`` and ``render(entries, options) -> str``.

A format is found by listing this package; its file's name is the format's. ``EXTENSIONS``: endings
of file names that mean it. A format whose lines a CI system obeys says so by ``WORKFLOW_COMMANDS =
True``.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from symdiag.errors import UsageError


def format_names() -> tuple[str, ...]:
    """Every format, without importing any of them."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if not n.startswith("_")))


def format_module(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        UsageError: There is no such format.
    """
    if name not in format_names():
        raise UsageError(f"unknown format {name!r}", hint=f"one of {', '.join(format_names())}")
    return importlib.import_module(f"{__name__}.{name}")


def format_of(filename: str) -> str:
    """The format whose extension ``filename`` has.

    Raises:
        UsageError: No format claims the extension.
    """
    # Formats are imported here only, when a file is named: `--help` stays light.
    for name in format_names():
        if filename.lower().endswith(tuple(format_module(name).EXTENSIONS)):
            return name
    raise UsageError(
        f"cannot tell the format of {filename!r}", hint="write FORMAT=FILE, such as json=report.out"
    )
