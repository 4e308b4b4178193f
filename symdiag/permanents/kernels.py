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
_REASSOCIATE = {"reassoc", "contract", "nsz"}  # lets sums vectorise; keeps inf and nan meaning what they mean


@functools.cache
def _compile(name: str) -> Callable[..., Any] | None:
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    loops = importlib.import_module("symdiag.permanents.loops")
    function: Callable[..., Any] = numba.njit(cache=True, nogil=True, fastmath=_REASSOCIATE)(getattr(loops, name))
    return function


def compiled(name: str) -> Callable[..., Any] | None:
    """The compiled form of ``loops.<name>``, or None where numba is absent or disabled."""
    if os.environ.get(ENV_DISABLE, "") not in ("", "0"):
        return None
    return _compile(name)
