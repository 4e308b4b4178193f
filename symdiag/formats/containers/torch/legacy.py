"""What torch.save wrote before zip: five pickles in a row, then the storages' raw numbers.

The pickles are a magic number, a protocol version, the machine that wrote the file, the object, and
the list of storage keys. Each storage follows as its element count (int64) and its elements, little
endian. A storage inside a bare pickle is a small file of the same kind.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO, NoReturn

from symdiag.errors import LimitError, UnreadableError, UnsupportedError
from symdiag.formats.containers.torch._arrays import nbytes
from symdiag.formats.containers.torch._calls import storage_dtype
from symdiag.formats.containers.torch._machine import Machine
from symdiag.formats.containers.torch._plain import Plain
from symdiag.formats.containers.torch._values import Global, Storage, count, exact
from symdiag.formats.containers.torch._writing import saved
from symdiag.formats.interface import Content, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import Limits

name = "torch-legacy"
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_BEGINS = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number, pickled with any protocol


def matches(stream: BinaryIO, limits: Limits) -> bool:
    """Whether the file begins with the magic number's pickle."""
    stream.seek(0)
    return begins(stream.read(32))


def begins(head: bytes) -> bool:
    """Whether ``head`` is the beginning of such a file."""
    return head[:1] == b"\x80" and head[2 : 2 + len(_BEGINS)] == _BEGINS


def header(stream: BinaryIO, limits: Limits) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
    """Names, shapes and dtypes; of the storages only their sizes are read."""
    root, size = _interpreted(stream, limits, None)
    return Plain(limits, size, load=False).header(root)


def read(stream: BinaryIO, limits: Limits) -> Content:
    """The tree, with arrays for tensors and plain dicts for objects."""
    stream.seek(0)
    whole = stream.getvalue() if isinstance(stream, io.BytesIO) else stream.read()
    root, size = _interpreted(stream, limits, memoryview(whole))
    return Plain(limits, size).content(root)


def encode(raw: RawCheckpoint) -> bytes:
    """``raw.tree`` as torch.save writes it with ``_use_new_zipfile_serialization=False``."""
    return saved(raw, zipped=False)


def nested_storage(data: bytes, outer: Machine) -> Any:
    """The storage that ``torch.storage._load_from_bytes(data)`` would give."""
    if not begins(data):
        raise UnsupportedError(
            "a pickle holds a storage in a form torch does not write",
            hint="Save it with torch.save.",
        )
    # Shares the count of instructions, so that many small files cannot add up; none nests deeper.
    inner = Machine(outer.limits)
    inner.left = outer.left
    root, _ = _described(io.BytesIO(data), outer.limits, memoryview(data), inner)
    outer.left = inner.left
    return root


def _interpreted(stream: BinaryIO, limits: Limits, whole: memoryview | None) -> tuple[Any, int]:
    """What the pickles describe, storages bound to their bytes, and the size of the file."""
    size = stream.seek(0, 2)
    stream.seek(0)
    if whole is None:  # a file: no more of it is read than pickles may take
        text = io.BytesIO(stream.read(limits.max_pickle_bytes))
        return _described(text, limits, None, Machine(limits, nested=nested_storage), stream)
    root, _ = _described(stream, limits, whole, Machine(limits, nested=nested_storage))
    return root, size


def _described(
    text: BinaryIO,
    limits: Limits,
    whole: memoryview | None,
    machine: Machine,
    stream: BinaryIO | None = None,
) -> tuple[Any, int]:
    """Run the five pickles of ``text`` and find each storage behind them in ``stream``."""
    storages = _Storages()
    machine.persistent_load = storages.storage
    if machine.run(text) != _MAGIC or machine.run(text) != _PROTOCOL:
        _corrupt("it does not begin as torch's format from before zip does")
    machine.run(text)  # the machine that wrote it; the numbers are little endian all the same
    root = machine.run(text)
    keys = machine.run(text)
    at = text.tell()
    if at > limits.max_pickle_bytes:
        raise LimitError(
            f"the pickle is larger than {limits.max_pickle_bytes} bytes",
            hint="Save only the state dict.",
        )
    return root, storages.bind(keys, at, stream or text, whole)


class _Storages:
    """The persistent ids of one file: ``('storage', class, key, location, numel, view)``."""

    def __init__(self) -> None:
        self.roots: dict[str, Storage] = {}
        self.views: list[Storage] = []

    def storage(self, identifier: Any) -> Any:
        """A storage or a view of one; ``('module', class, …)`` is the class itself."""
        tag, kind, *rest = exact(identifier, tuple)
        if tag == "module":  # a class, with its source code, which nobody reads here
            return exact(kind, Global)
        if tag != "storage":
            raise ValueError("unknown persistent id")
        key, _location, numel, view = rest[:4]
        dtype = storage_dtype(kind)
        fresh = Storage(exact(key, str), dtype, count(numel))
        root = self.roots.setdefault(fresh.key, fresh)
        if view is None:
            return root if root.dtype == dtype else _view_of(root, dtype, 0, root.numel, self.views)
        _key, offset, size = exact(view, tuple)
        return _view_of(root, dtype, count(offset), count(size), self.views)

    def bind(self, keys: Any, at: int, stream: BinaryIO, whole: memoryview | None) -> int:
        """Give each storage its bytes, which follow one another from ``at``; the file's size."""
        size = stream.seek(0, 2)
        texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not texts or sorted(keys) != sorted(self.roots):
            _corrupt("its list of storages is not that of its tensors")
        for key in keys:
            root = self.roots[key]
            declared = nbytes(root)
            if at + 8 + declared > size:
                raise UnreadableError(
                    f"truncated torch file: expected {at + 8 + declared} bytes or more, got {size}",
                    code="truncated",
                    hint="The copy or download is incomplete; fetch the file again.",
                )
            stream.seek(at)
            if struct.unpack("<q", stream.read(8))[0] != root.numel:
                _corrupt("a storage has another size than its tensor says")
            root.held = declared
            if whole is not None:
                root.block = whole[at + 8 : at + 8 + declared]
            at += 8 + declared
        if at != size:
            _corrupt(f"{size - at} bytes follow its last storage")
        # A view may claim more than its root holds: it then holds less than it declares, and the
        # tensor on it is refused.
        for view in self.views:
            view.held = min(nbytes(view), max(0, view.root.held - view.start))
        return size


def _view_of(
    root: Storage, dtype: str | None, offset: int, numel: int, views: list[Storage]
) -> Storage:
    width = nbytes(Storage("", dtype, 1))
    view = Storage(root.key, dtype, numel, root, offset * width)
    views.append(view)
    return view


def _corrupt(message: str) -> NoReturn:
    raise UnreadableError(
        f"damaged torch file: {message}",
        code="corrupt",
        hint="Copy or download the file again, or save it anew.",
    )
