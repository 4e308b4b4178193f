"""What a container and a dialect must provide; one file each implements them.

A *container* turns bytes into a tree of named arrays without running code from the file. A
*dialect* knows one library's (or convention's) keys and scale transform, and turns the tree into a
Posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from symdiag.formats.limits import Limits
from symdiag.formats.pickled_module import PickledModule
from symdiag.posterior import Posterior

Tree: TypeAlias = Any
"""Nested dicts and lists of numpy arrays and plain scalars (int, float, bool, str, None)."""


SHAPES_HINT = (
    "list the tensors in order in CHECKPOINT.symdiag.json: "
    '{"model_shapes": {"fc1.weight": [16, 1], "fc1.bias": [16]}}'
)
"""What to do where a file does not say which tensors its numbers are."""


@dataclass(frozen=True)
class RawCheckpoint:
    """A file's content as named arrays, before anyone says what they mean.

    Arrays keep their stored dtype; dtypes numpy lacks (bfloat16, float8) arrive as float32 and are
    listed in ``foreign_dtypes`` (flat key → dtype name) so that they can be written back.
    ``tied`` lists sets of flat keys that share one storage. ``modules`` describes whole pickled
    modules, by the flat key under which their state dict stands ("" for the whole file).
    ``held`` is what the tree was taken from where that is in memory, not in a file.
    """

    path: str
    sha256: str
    container: str
    tree: Tree
    metadata: Mapping[str, str] = field(default_factory=dict)
    foreign_dtypes: Mapping[str, str] = field(default_factory=dict)
    tied: tuple[tuple[str, ...], ...] = ()
    modules: Mapping[str, PickledModule] = field(default_factory=dict)
    held: Held | None = None


@dataclass(frozen=True)
class Held:
    """What a live object holds, as its library would save it (``symdiag.formats.objects``).

    ``content`` is what torch.save would get, ``companion`` the same for a second file. ``network``
    is the live module that computes with these weights; ``shapes`` are those of flat vectors.
    ``back`` turns content with new values into what the object itself loads, where they differ.
    """

    content: Any
    companion: Any = None
    network: Any = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    name: str = "<memory>"
    back: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class HeaderEntry:
    """One tensor as the file's header declares it."""

    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ReadOptions:
    """What the user may have to tell us about a file.

    ``scale_transform``: one of softplus, exp, identity, exp-half (std = exp(logvar/2)), sqrt
    (variance stored). ``companion``: a second file some libraries need (laplace-torch's model state
    dict). ``model_shapes``: tensor name → shape, in model order, for flat-vector files that hold
    neither. ``member``: which of several posteriors in one file.
    """

    scale_transform: str | None = None
    companion: RawCheckpoint | None = None
    model_shapes: Mapping[str, tuple[int, ...]] | None = None
    member: str | None = None


@dataclass(frozen=True)
class Content:
    """What a container's ``read`` finds: the part of a `RawCheckpoint` that does not depend on
    where it came from.
    """

    tree: Tree
    metadata: Mapping[str, str] = field(default_factory=dict)
    foreign_dtypes: Mapping[str, str] = field(default_factory=dict)
    tied: tuple[tuple[str, ...], ...] = ()
    modules: Mapping[str, PickledModule] = field(default_factory=dict)


class Container(Protocol):
    """One file format on disk: a module of `symdiag.formats.containers` with these names.

    Streams are seekable and hold the whole file; `symdiag.formats.reading` opens, hashes and
    dispatches.
    """

    @property
    def name(self) -> str:
        """Stable name, shown in reports."""
        ...

    def matches(self, stream: BinaryIO, limits: Limits) -> bool:
        """Whether the content is this format's (never the extension).

        May raise InputError for a broken file.
        """
        ...

    def header(
        self, stream: BinaryIO, limits: Limits
    ) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
        """Names, shapes and dtypes without reading data or importing torch, and the file's
        metadata.
        """
        ...

    def read(self, stream: BinaryIO, limits: Limits) -> Content:
        """The whole file. Raises InputError subclasses only."""
        ...

    def encode(self, raw: RawCheckpoint) -> bytes:
        """``raw.tree`` as a file of this format, dtypes preserved."""
        ...


class Dialect(Protocol):
    """One library's way of naming loc and scale."""

    name: str
    priority: int  # higher is asked first; full key patterns of a library outrank loose conventions

    def matches(self, raw: RawCheckpoint, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Whether the full key pattern of this dialect is present.

        ``arrays``: the chosen state dict, flat.
        """
        ...

    def read(
        self, raw: RawCheckpoint, arrays: Mapping[str, NDArray[Any]], options: ReadOptions
    ) -> Posterior:
        """The posterior, float64, names like ``fc1.weight``; ``source.template`` remembers what
        write needs.
        """
        ...

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with loc and scale replaced by ``posterior``'s, same keys, dtypes and
        structure.
        """
        ...


def to_float64(array: NDArray[Any]) -> NDArray[np.float64]:
    """A float64 copy.

    NaN stays NaN without a warning; whoever needs finite values checks for them.
    """
    with np.errstate(invalid="ignore"):
        return np.array(array, dtype=np.float64)
