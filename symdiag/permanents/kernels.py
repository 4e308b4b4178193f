"""Compiled loops on demand: numba when present and wanted, else None and the caller's NumPy path runs.

Nothing is imported or compiled before the first call. ``SYMDIAG_NO_NUMBA=1`` in the environment forces the NumPy path.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

ENV_DISABLE = "SYMDIAG_NO_NUMBA"


@functools.cache
def _loops() -> Any:
    try:
        return importlib.import_module("symdiag.permanents.loops")
    except ImportError:
        return None


def compiled(name: str) -> Callable[..., Any] | None:
    """The compiled form of ``loops.<name>``, or None where numba is absent or disabled."""
    if os.environ.get(ENV_DISABLE, "") not in ("", "0"):
        return None
    function: Callable[..., Any] | None = getattr(_loops(), name, None)
    return function
