"""One file per library (or convention), each defining ``DIALECT``: a new library is one new file.

Files whose name begins with an underscore hold what several dialects share.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from symdiag.formats.interface import Dialect


@functools.cache
def dialects() -> tuple[Dialect, ...]:
    """Every dialect of this package, the most specific first."""
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
        if not info.name.startswith("_")
    )
    found: list[Dialect] = [module.DIALECT for module in modules]
    return tuple(sorted(found, key=lambda dialect: (-dialect.priority, dialect.name)))


def dialect_named(name: str) -> Dialect:
    """The dialect called ``name``. Raises KeyError."""
    return {dialect.name: dialect for dialect in dialects()}[name]
