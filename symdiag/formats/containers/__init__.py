"""Containers: one module per file format on disk, found by listing this package.

A container module has ``name``, ``matches``, ``header``, ``read`` and ``encode``; see
`symdiag.formats.interface`.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import cast

from symdiag.formats.interface import Container


@cache
def all_containers() -> tuple[Container, ...]:
    """Every container, in the order of their module names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast("Container", import_module(f"{__name__}.{name}")) for name in names)
