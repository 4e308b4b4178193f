"""Posteriors in memory: one module per kind of live object, found by listing this package.

A module says which objects are its kind and what their library would save of them. That is then
read as a file of the library would be, so that object, state dict and file give one posterior. No
library is imported here: an object of it cannot exist before it is.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import pkgutil
from dataclasses import replace
from functools import cache
from typing import Any, Protocol, cast

from symdiag.errors import UsageError
from symdiag.formats.interface import Held, RawCheckpoint

_KNOWN = (
    "a file, a module, a state dict or other dict of arrays, a Pyro guide or parameter store, a "
    "laplace object, (optimizer, model) of IVON, a state of posteriors, or a symdiag.Posterior"
)


class Kind(Protocol):
    """One kind of live object: a module of this package with these names."""

    priority: int  # higher is asked first: libraries' own classes before plain modules and dicts

    def matches(self, source: Any) -> bool:
        """Whether ``source`` is such an object."""
        ...

    def held(self, source: Any) -> Held:
        """What its library would save of it, and the live network."""
        ...


@cache
def kinds() -> tuple[Kind, ...]:
    """Every kind of object, in the order in which they are asked."""
    names = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    found = [cast("Kind", importlib.import_module(f"{__name__}.{name}")) for name in sorted(names)]
    return tuple(sorted(found, key=lambda kind: -kind.priority))


def hold(source: Any) -> Held:
    """What ``source`` holds.

    Raises:
        UsageError: ``unknown-object``: none of the kinds.
    """
    # by priority: a laplace object is no mapping, but a guide is a module
    found = next((kind for kind in kinds() if kind.matches(source)), None)
    if found is None:
        is_draws = any(hasattr(source, name) for name in ("posterior", "data_vars"))
        raise UsageError(
            f"an object of class {type(source).__name__} is no posterior that symdiag knows",
            code="unknown-object",
            hint="draws are for symdiag.analyze_samples" if is_draws else f"give {_KNOWN}",
        )
    return replace(found.held(source), name=f"<{type(source).__name__}>")


def raw_of(held: Held) -> RawCheckpoint:
    """``held`` as `symdiag.formats.reading.read_raw` would return it from a file of torch.save's."""
    import torch

    from symdiag.formats.containers.torch import archive
    from symdiag.formats.limits import Limits

    # through torch.save and our own reader: dtypes, ties and names come out as a file's would
    stream = io.BytesIO()
    torch.save(held.content, stream)
    data = stream.getbuffer()
    # what is in memory already needs no cap on its size; the other limits bound what is odd
    found = archive.read(io.BytesIO(data), Limits(max_file_bytes=len(data) + 1))
    return RawCheckpoint(
        path=held.name,
        sha256=hashlib.sha256(data).hexdigest(),
        container=archive.name,
        tree=found.tree,
        metadata=found.metadata,
        foreign_dtypes=found.foreign_dtypes,
        tied=found.tied,
        modules=found.modules,
        held=held,
    )
