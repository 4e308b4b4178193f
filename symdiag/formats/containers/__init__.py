"""Containers: one module per file format on disk, found by listing this package and its folders.

A container module has ``name``, ``matches``, ``header``, ``read`` and ``encode``; see
`symdiag.formats.interface`. A folder holds the containers of one family, and helpers of theirs
under names that begin with an underscore.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import cast

from symdiag.formats.interface import Container


@cache
def all_containers() -> tuple[Container, ...]:
    """Every container, in the order of their module names."""
    return tuple(_listed(__path__, __name__))


def _listed(path: Iterable[str], package: str) -> Iterator[Container]:
    for found in sorted(pkgutil.iter_modules(path), key=lambda module: module.name):
        if found.name.startswith("_"):
            continue
        module = import_module(f"{package}.{found.name}")
        if found.ispkg:
            yield from _listed(module.__path__, module.__name__)
        else:
            yield cast("Container", module)
