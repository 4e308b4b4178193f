"""What a pickle's instructions build here: inert values, never the objects they stand for.

Every name the file mentions is text. A class we do not know becomes a `Record` of its name,
arguments and state; tensors and numpy arrays become descriptions of where their numbers lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symdiag.errors import LimitError

_SAME_MODULE = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "cPickle": "pickle",
    "UserDict": "collections",
    "numpy.core": "numpy._core",
}
_MAX_SAME_HASH = 50
_LONGEST_KEY = 4096


@dataclass(frozen=True)
class Global:
    """A name the pickle refers to: a class, a function or a constant that we never look up."""

    name: str


@dataclass(eq=False, repr=False)
class Record:
    """An object of a class we do not know: what its pickle says, and nothing that acts."""

    # slots: a file may ask for two million of these
    __slots__ = ("args", "entries", "items", "name", "state")

    name: str
    args: tuple[Any, ...]
    state: dict[Any, Any]  # instance attributes, slots included
    items: list[Any]  # of a list or set
    entries: dict[Any, Any]  # of a dict

    @classmethod
    def of(cls, name: str, args: tuple[Any, ...] = ()) -> Record:
        """A record without state."""
        return cls(name, args, {}, [], {})

    def set_state(self, state: Any, spend: Callable[[int], None]) -> None:
        """Take over what BUILD brings: a dict, a pair of dict and slots, or anything else."""
        pair = type(state) is tuple and len(state) == 2
        parts = state if pair and all(isinstance(p, dict | None) for p in state) else (state,)
        for part in parts:
            found = part if isinstance(part, dict) else {} if part is None else {"state": part}
            # the first dict is shared, not copied: thousands of records may name a large one
            if self.state:
                spend(len(self.state) + len(found))
            self.state = {**self.state, **found} if self.state else found


@dataclass(eq=False, repr=False)
class Storage:
    """A block of raw numbers; ``numel`` counts elements of ``dtype`` (bytes when untyped).

    ``owner`` is what views of one block share; ``start`` is the view's first byte in the owner's
    ``block``, of which ``held`` bytes are really there.
    """

    key: str
    dtype: str | None
    numel: int
    owner: Storage | None = None
    start: int = 0
    held: int = 0
    block: memoryview | None = None
    big_endian: bool = False

    @property
    def root(self) -> Storage:
        """The storage whose bytes these are."""
        return self.owner or self


@dataclass(eq=False, repr=False)
class Tensor:
    """A tensor as its pickle describes it. ``kind`` is empty for an ordinary dense tensor."""

    dtype: str
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    offset: int = 0
    storage: Storage | None = None
    kind: str = ""

    @property
    def span(self) -> int:
        """Elements of the storage from first used to last used, both included; 0 when empty."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))


@dataclass(eq=False, repr=False)
class DType:
    """A numpy dtype: its code such as ``f4`` and byte order (``<``, ``>``, ``=`` or ``|``)."""

    code: str
    order: str = "="


@dataclass(eq=False, repr=False)
class Array:
    """A numpy array: ``data`` is its bytes, or the list of its items where the dtype is object."""

    dtype: DType | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: Any = b""
    scalar: bool = False

    def set_state(self, state: Any) -> None:
        """What BUILD brings: (version, shape, dtype, fortran, data), or the last four."""
        shape, dtype, fortran, self.data = exact(state, tuple)[-4:]
        self.shape, self.dtype, self.fortran = counts(shape), exact(dtype, DType), bool(fortran)


INERT = (Global, Record, Storage, Tensor, DType, Array)


def reference(module: str, name: str) -> Global:
    """The global ``name`` of ``module`` (old modules under today's name), as text.

    Two long texts, memoised, could be joined a million times: hence the cap.
    """
    if len(module) + len(name) > _LONGEST_KEY:
        raise LimitError(f"a name of {len(module) + len(name)} characters", hint="Save it anew.")
    for old, new in _SAME_MODULE.items():
        if module == old or module.startswith(f"{old}."):
            module = new + module[len(old) :]
    return Global(f"{module}.{name}")


def exact(value: Any, kind: type) -> Any:
    """``value``, which must be exactly of type ``kind``."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value


def count(value: Any) -> int:
    """A non-negative int."""
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def counts(values: Any) -> tuple[int, ...]:
    """A shape or strides. A file may name one long list many times, hence the cap."""
    if type(values) not in (tuple, list):
        raise TypeError("not a shape")
    if len(values) > 256:
        raise LimitError(f"a tensor has {len(values)} axes", hint="The file is damaged.")
    return tuple(count(n) for n in values)


def plain_key(key: Any, same_hash: dict[int, list[Any]]) -> Any:
    """``key`` of a dict, which must be plain or one of our own values.

    Refused when many others share its hash, as only chosen ones do: a dict compares keys of one
    hash one by one, so that a hundred thousand of them would take hours.
    """
    if isinstance(key, str | bytes):
        if len(key) > _LONGEST_KEY:
            raise LimitError(
                f"a dict key has {len(key)} characters", hint="Save only the state dict."
            )
        return key
    if isinstance(key, INERT):  # hashed by identity
        return key
    parts = key if type(key) is tuple else (key,)
    if len(parts) > 16 or not all(
        isinstance(p, str | bytes | int | float | type(None)) for p in parts
    ):
        raise TypeError("not a plain dict key")
    others = same_hash.setdefault(hash(key), [])
    if key not in others:
        others.append(key)
    if len(others) > _MAX_SAME_HASH:
        raise LimitError(
            f"pickle has more than {_MAX_SAME_HASH} dict keys of one hash",
            hint="The file is made to exhaust time.",
        )
    return key
