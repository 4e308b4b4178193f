"""The numbers of tensors and numpy arrays, taken from the file's bytes once these fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import UnreadableError, UnsupportedError, shown
from symdiag.formats import dtypes
from symdiag.formats.containers.torch._values import Array, Storage, Tensor
from symdiag.formats.limits import Limits

COMPLEX = frozenset({"complex64", "complex128"})
_SIZED = dtypes.NATIVE | set(dtypes.FOREIGN_ITEMSIZE) | COMPLEX
_NUMPY_CODE = re.compile(r"b1|[iu][1248]|f[248]|c(8|16)|[SU][1-9]\d{0,8}")
_TOO_ODD = "which symdiag does not read"


def unread_kind(spec: Tensor) -> tuple[str, str] | None:
    """Why a tensor cannot become an array, as words and a code; None when it can."""
    if spec.kind or spec.storage is None:
        return f"is {spec.kind}", "unsupported-tensor"
    if spec.dtype not in _SIZED:
        code = "unsupported-tensor" if spec.dtype.startswith("q") else "unsupported-dtype"
        return f"has dtype {shown(spec.dtype)}", code
    return None


def check_tensor(spec: Tensor, key: str, limits: Limits) -> int:
    """Bytes the tensor unfolds to, after checking that it lies inside a storage that is there."""
    storage = spec.storage
    assert storage is not None
    width = dtypes.itemsize(spec.dtype)
    declared = nbytes(storage)
    if storage.held != declared:
        inconsistent(
            f"tensor {shown(key)}",
            f"declares a storage of {declared} bytes, the archive holds {storage.held}",
        )
    if len(spec.shape) != len(spec.stride):
        inconsistent(f"tensor {shown(key)}", "has a shape and strides of different length")
    unfolded = limits.check_shape(spec.shape, width, f"tensor {shown(key)}")
    # Strides may be 0 (expanded) and tensors may overlap, but none may reach out of its storage.
    reach = (spec.offset + spec.span) * width
    if reach > declared and spec.span:
        inconsistent(f"tensor {shown(key)}", f"reaches {reach} bytes into a storage of {declared}")
    return unfolded


def nbytes(storage: Storage) -> int:
    """The bytes a storage declares."""
    return storage.numel * (dtypes.itemsize(storage.dtype) if storage.dtype in _SIZED else 1)


def tensor_values(spec: Tensor) -> NDArray[Any]:
    """A checked tensor's values, read-only; foreign dtypes as float32.

    A contiguous tensor is a view of the file's own bytes: a large checkpoint is not copied.
    """
    storage = spec.storage
    assert storage is not None
    block = storage.root.block
    assert block is not None
    width = dtypes.itemsize(spec.dtype)
    start = storage.start + spec.offset * width
    if not spec.span:
        return np.zeros(
            spec.shape, np.float32 if spec.dtype in dtypes.FOREIGN_ITEMSIZE else spec.dtype
        )
    raw: memoryview | bytes = block[start : start + spec.span * width]
    if spec.dtype in dtypes.FOREIGN_ITEMSIZE:
        if storage.root.big_endian and width > 1:
            raw = np.frombuffer(raw, ">u2").astype("<u2").tobytes()
        flat: NDArray[Any] = dtypes.decode(raw, spec.dtype)
    else:
        stored = np.dtype(spec.dtype)
        flat = np.frombuffer(raw, stored.newbyteorder(">" if storage.root.big_endian else "<"))
    # the stride of an axis of one is never used, and may be any number
    pairs = zip(spec.shape, spec.stride, strict=True)
    strides = tuple(0 if n == 1 else step * flat.itemsize for n, step in pairs)
    view = np.lib.stride_tricks.as_strided(flat, spec.shape, strides, writeable=False)
    if view.flags.c_contiguous and view.flags.aligned and view.dtype.isnative:
        return view
    own = np.array(view, dtype=flat.dtype.newbyteorder("="))
    own.flags.writeable = False
    return own


def numpy_dtype(array: Array) -> np.dtype[Any] | None:
    """The array's dtype, built from a code of a fixed form; None for any other."""
    found = array.dtype
    if (
        found is None
        or not _NUMPY_CODE.fullmatch(found.code)
        or found.order not in ("<", ">", "=", "|")
    ):
        return None
    return np.dtype(found.code).newbyteorder(">" if found.order == ">" else "<")


def numpy_values(array: Array, dtype: np.dtype[Any], what: str, limits: Limits) -> NDArray[Any]:
    """A numpy array over the pickle's own bytes (read-only), once its shape agrees with them."""
    data = array.data
    if isinstance(data, str) and max(data, default="") < "\u0100":  # bytes as Python 2 wrote them
        data = data.encode("latin-1")
    if not isinstance(data, bytes):
        inconsistent(what, "has no data")
    extent = limits.check_shape(array.shape, dtype.itemsize, what)
    if extent != len(data):
        inconsistent(what, f"needs {extent} bytes, {len(data)} are there")
    values = np.frombuffer(data, dtype) if data else np.zeros(array.shape, dtype)
    return values.reshape(array.shape, order="F" if array.fortran else "C")


def numpy_text(values: NDArray[Any], what: str) -> Any:
    """Arrays of text as (lists of) str or bytes."""
    try:
        return values.tolist()
    except (ValueError, UnicodeError, SystemError):
        # for a code beyond Unicode's last, Python's C code reports a bug
        inconsistent(what, "holds invalid text")


def tied(specs: list[tuple[str, Tensor]]) -> tuple[tuple[str, ...], ...]:
    """Keys of tensors that overlap in one storage (slices of a flat vector are not tied)."""
    by_storage: dict[int, list[tuple[int, int, str]]] = {}
    for key, spec in specs:
        if spec.storage is not None and spec.span:
            width = dtypes.itemsize(spec.dtype)
            begin = spec.storage.start + spec.offset * width
            extent = (begin, begin + spec.span * width, key)
            by_storage.setdefault(id(spec.storage.root), []).append(extent)
    return tuple(
        group for extents in by_storage.values() for group in _overlapping(sorted(extents))
    )


def _overlapping(extents: list[tuple[int, int, str]]) -> Iterator[tuple[str, ...]]:
    """Groups of keys whose extents, sorted by begin, overlap."""
    group: list[str] = []
    reach = 0
    for begin, end, key in extents:
        if begin >= reach:
            if len(group) > 1:
                yield tuple(group)
            group = []
        group.append(key)
        reach = max(reach, end)
    if len(group) > 1:
        yield tuple(group)


def unsupported(what: str, words: str, code: str) -> NoReturn:
    """Refuse a kind of tensor or dtype."""
    hint = "Save it as a dense float32 tensor." if code == "unsupported-tensor" else (
        "Convert it to float32 before saving."
    )  # fmt: skip
    raise UnsupportedError(f"{what} {words}, {_TOO_ODD}", code=code, hint=hint)


def inconsistent(what: str, words: str) -> NoReturn:
    """Refuse a file that contradicts itself."""
    raise UnreadableError(
        f"inconsistent torch file: {what} {words}", code="corrupt", hint="Save the file anew."
    )
