"""npz: a zip of npy arrays. Never unpickles: object arrays are refused before numpy sees them."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from symdiag.errors import (
    LimitError,
    OutputError,
    UnreadableError,
    UnsafeError,
    UnsupportedError,
    shown,
)
from symdiag.formats import dtypes, tree
from symdiag.formats.interface import Content, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import Limits
from symdiag.formats.zip_archive import LOCAL_MAGIC, Archive, open_archive

name = "npz"
_SUFFIX = ".npy"
_MAX_HEADER = 10_000


class _Npy(NamedTuple):
    """What an npy header declares; ``start`` is where the data begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int


def matches(stream: BinaryIO, limits: Limits) -> bool:
    """Whether this is a zip archive with an npy member and no pickle of torch's."""
    stream.seek(0)
    if stream.read(4) != LOCAL_MAGIC:
        return False
    names = open_archive(stream, limits, allow_deflate=True).members
    return any(n.endswith(_SUFFIX) for n in names) and not any(
        n.endswith("data.pkl") for n in names
    )


def header(stream: BinaryIO, limits: Limits) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
    """Names, shapes and dtypes of the arrays, each checked as for reading."""
    found = _headers(_open(stream, limits), limits).items()
    return tuple(
        HeaderEntry(member.removesuffix(_SUFFIX), array.shape, array.dtype.name)
        for member, array in found
    ), {}


def read(stream: BinaryIO, limits: Limits) -> Content:
    """All arrays as a flat dict; arrays of text become (lists of) str."""
    archive = _open(stream, limits)
    found = _headers(archive, limits).items()
    return Content(
        tree={name.removesuffix(_SUFFIX): _array(archive, name, array) for name, array in found}
    )


def encode(raw: RawCheckpoint) -> bytes:
    """``raw.tree``, flattened, as an uncompressed npz file."""
    for key, dtype in raw.foreign_dtypes.items():  # stored as float32 they would be other files
        raise OutputError(f"npz has no dtype {dtype} (array {shown(key)})")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for key, leaf in _arrays(raw.tree):
            # numpy.savez would take a key such as "file" for its own argument
            with archive.open(zipfile.ZipInfo(key + _SUFFIX), "w", force_zip64=True) as member:
                npy.write_array(member, leaf, allow_pickle=False)
    return out.getvalue()


def _arrays(nested: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Leaves as arrays; lists of text, which reading made of text arrays, are arrays again."""
    for key, leaf in _leaves_and_text(nested):
        if not isinstance(leaf, (np.ndarray, np.generic, int, float, bool, str, list)):
            raise OutputError(f"npz holds arrays only; {shown(key)} is a {type(leaf).__name__}")
        yield key, np.asarray(leaf)


def _leaves_and_text(nested: Any) -> Iterator[tuple[str, Any]]:
    """Top-level entries as they are (npz is flat), deeper ones flattened."""
    for key, value in nested.items():
        if isinstance(value, (dict, tuple)):
            yield from tree.leaves({key: value})
        else:
            yield str(key), value


def _open(stream: BinaryIO, limits: Limits) -> Archive:
    archive = open_archive(stream, limits, allow_deflate=True)
    for member in archive.members:
        if not member.endswith(_SUFFIX):
            raise UnreadableError(
                f"ambiguous zip archive: member {shown(member)} is not an npy array",
                code="ambiguous-archive",
                hint="Save the arrays alone with numpy.savez.",
            )
    return archive


def _headers(archive: Archive, limits: Limits) -> dict[str, _Npy]:
    """Member → its checked header.

    Texts are limited in number, as a str takes far more memory than its characters.
    """
    found = {member: _npy_header(archive, member, limits) for member in archive.members}
    texts = sum(math.prod(array.shape) for array in found.values() if array.dtype.kind == "U")
    if texts > limits.max_nodes:
        raise LimitError(
            f"npz file holds {texts} texts; at most {limits.max_nodes} are read",
            hint="Save the arrays of numbers alone.",
        )
    return found


def _npy_header(archive: Archive, member: str, limits: Limits) -> _Npy:
    """The header of an npy member, whose declared extent must be what the member holds."""
    stream = io.BytesIO(archive.head(member, _MAX_HEADER))
    try:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy comments on headers written by Python 2
            shape, fortran, dtype = reader(stream, max_header_size=_MAX_HEADER)
    except (
        Exception
    ) as error:  # the header is a Python literal; numpy raises many kinds of error over it
        _malformed(member, f"its header cannot be read ({type(error).__name__})")
    _check_dtype(dtype, member)
    if any(n < 0 for n in shape):
        _malformed(member, "its shape is negative")
    extent = limits.check_shape(shape, dtype.itemsize, f"array {shown(member)}")
    rest = archive.members[member].size - stream.tell()
    # numpy would read what it needs and leave the rest unseen
    if rest != extent:
        _malformed(member, f"its header declares {extent} bytes, {rest} follow")
    return _Npy(shape, fortran, dtype, stream.tell())


def _check_dtype(dtype: np.dtype[Any], member: str) -> None:
    # an object array is a pickle under another name
    if dtype.hasobject:
        raise UnsafeError(
            f"array {shown(member)} holds pickled Python objects",
            hint="Save arrays of numbers: one array a tensor, with numpy.savez(file, **arrays).",
        )
    if dtype.kind != "U" and dtype.name not in dtypes.NATIVE:
        raise UnsupportedError(
            f"array {shown(member)} has dtype {shown(dtype.str)}, which symdiag does not read",
            code="unsupported-dtype",
            hint="Convert it to float32 before saving.",
        )


def _array(archive: Archive, member: str, found: _Npy) -> Any:
    data = archive.payload(member)[found.start :]
    array = (
        np.frombuffer(data, found.dtype) if data else np.zeros(math.prod(found.shape), found.dtype)
    )
    array = array.reshape(found.shape, order="F" if found.fortran else "C")
    if found.dtype.kind == "U":
        return _text(array, member)
    return np.array(array, dtype=found.dtype.newbyteorder("="))


def _text(array: NDArray[Any], member: str) -> Any:
    try:
        return array.tolist()
    except (
        ValueError,
        UnicodeError,
        SystemError,
    ):  # for a code beyond Unicode's last, Python's C code reports a bug
        _malformed(member, "it holds invalid text")


def _malformed(member: str, message: str) -> NoReturn:
    raise UnreadableError(
        f"malformed npz file: array {shown(member)}: {message}",
        code="malformed-header",
        hint="Save it anew with numpy.savez.",
    )
