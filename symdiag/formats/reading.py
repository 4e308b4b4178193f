"""Opening a checkpoint: the file's bytes are read once, hashed, recognised by content, and parsed
from memory.

One read means that what was hashed, checked and parsed are the same bytes, even if the file is
replaced meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from symdiag.errors import LimitError, UnreadableError, UnsupportedError
from symdiag.formats.atomic import atomic_write
from symdiag.formats.containers import all_containers
from symdiag.formats.interface import Container, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import DEFAULT, Limits
from symdiag.formats.zip_archive import LOCAL_MAGIC

_LFS = b"version https://git-lfs.github.com/spec/"
_OTHERS = {
    rb"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras, TensorFlow; draws in netCDF go to symdiag samples)",
    rb"\x93NUMPY": "a single npy array",
    rb"\x1f\x8b": "a gzip file",
    rb"BZh": "a bzip2 file",
    rb"\xfd7zXZ\x00": "an xz file",
    rb"\x28\xb5\x2f\xfd": "a zstandard file",
    rb"GGUF": "a GGUF file",
    rb"%PDF": "a PDF document",
    rb".{4}TFL3": "a TensorFlow Lite model",
    rb".{257}ustar": "a tar archive (torch's own format before 2017 was one)",
    # no magic number: a protobuf's fields 1, a small version, and 2, the producer's name, or 7
    rb"\x08[\x03-\x14](\x12[\x01-\x40][ -~]{2}|:)": "an ONNX model",
}
_PEEK = 1 << 20


def read_raw(path: str | os.PathLike[str], *, limits: Limits = DEFAULT) -> RawCheckpoint:
    """Read a checkpoint without running code from it.

    Args:
        path: A torch zip, safetensors or npz file; its extension is ignored.
        limits: Caps on what it may contain.

    Returns:
        Named arrays, with the SHA-256 of exactly the bytes they were parsed from.

    Raises:
        InputError: one of its subclasses, with a stable code; docs/security.md lists them.
    """
    where = Path(path)
    with _opened(where) as file:
        data = _read_once(file, where, limits)
    # parsed from memory: what was hashed is what is read
    stream = io.BytesIO(data)
    try:
        container = _recognised(stream, where, limits)
        content = container.read(stream, limits)
    except MemoryError as error:
        raise LimitError(f"not enough memory to read {path}", hint="Save fewer tensors.") from error
    return RawCheckpoint(
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        container=container.name,
        tree=content.tree,
        metadata=content.metadata,
        foreign_dtypes=content.foreign_dtypes,
        tied=content.tied,
        modules=content.modules,
    )


def read_header(
    path: str | os.PathLike[str], *, limits: Limits = DEFAULT
) -> tuple[str, tuple[HeaderEntry, ...], dict[str, str]]:
    """Container name, tensors as the header declares them, and metadata; never imports torch.

    Raises:
        InputError: as `read_raw`, for what can be seen without reading the data.
    """
    where = Path(path)
    with _opened(where) as file:
        _check_size(os.fstat(file.fileno()).st_size, where, limits)
        container = _recognised(file, where, limits)
        entries, metadata = container.header(file, limits)
    return container.name, entries, metadata


def write_raw(raw: RawCheckpoint, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write ``raw.tree`` to ``path`` in the container it came from, atomically, dtypes preserved.

    Raises:
        OutputError: cannot be written, or the file exists and ``overwrite`` is False.
    """
    # the container that was read, whatever the new file's name ends in
    container = next(c for c in all_containers() if c.name == raw.container)
    atomic_write(path, container.encode(raw), overwrite=overwrite)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The regular file at ``path``, opened so that a pipe put in its place cannot block us."""
    try:
        _check_kind(path.stat().st_mode, path)
        # O_NONBLOCK: a pipe swapped in after the check must not block the opening
        flags = (
            os.O_RDONLY
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_BINARY", 0)
            | getattr(os, "O_CLOEXEC", 0)
        )
        # the descriptor is checked again once open: the name may by then stand for something else
        file: BinaryIO = os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as error:
        _refuse_open(path, error)
    with file:
        _check_kind(os.fstat(file.fileno()).st_mode, path)
        try:
            yield file
        except OSError as error:
            _refuse_open(path, error)


def _check_kind(mode: int, path: Path) -> None:
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a named pipe", stat.S_ISCHR: "a device"}
    kinds |= {stat.S_ISBLK: "a device", stat.S_ISSOCK: "a socket"}
    if not stat.S_ISREG(mode):
        kind = next((word for test, word in kinds.items() if test(mode)), "not a regular file")
        raise UnreadableError(
            f"{path} is {kind}, not a file",
            code="not-a-file",
            hint="Name the checkpoint file itself.",
        )


def _check_size(size: int, path: Path, limits: Limits) -> None:
    # named for itself: to every container's reader it would be a truncated file
    if size == 0:
        raise UnreadableError(
            f"{path} is empty (0 bytes)", code="empty-file", hint="Save or fetch it again."
        )
    if size > limits.max_file_bytes:
        raise LimitError(
            f"{path} has {size} bytes; at most {limits.max_file_bytes} are read",
            hint="Save the posterior's tensors alone, without optimizer state.",
        )


def _read_once(file: BinaryIO, path: Path, limits: Limits) -> bytes:
    """All bytes, from one open file; a size that changes meanwhile is refused."""
    size = os.fstat(file.fileno()).st_size
    _check_size(size, path, limits)
    # one byte more than expected, to notice a file that grows
    data = file.read(size + 1)
    if len(data) != size:
        raise UnreadableError(
            f"{path} changed while it was read: expected {size} bytes, got {len(data)}",
            code="changed-while-reading",
            hint="Wait until whoever writes it has finished.",
        )
    return data


def _recognised(stream: BinaryIO, path: Path, limits: Limits) -> Container:
    """The container whose format the content has, or the reason why there is none."""
    stream.seek(0)
    head = stream.read(_PEEK)
    # before the containers are asked: a failed download is the user's likeliest mistake, and
    # `damaged pickle` would not tell them
    _refuse_text(head, path)
    found = next((c for c in all_containers() if c.matches(stream, limits)), None)
    if found is None:
        _refuse_unknown(head, path)
    return found


def _refuse_text(head: bytes, path: Path) -> None:
    """Say so when the file is what a failed download leaves behind."""
    if head.startswith(_LFS):
        raise UnreadableError(
            f"{path} is a git-LFS pointer, not the file itself",
            code="lfs-pointer",
            hint="Run: git lfs pull",
        )
    # a byte order mark and blanks may precede what a browser would show
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise UnreadableError(
            f"{path} is a web page, not a checkpoint",
            code="html-page",
            hint="The download gave an error or login page; use the raw or resolve address.",
        )


def _refuse_unknown(head: bytes, path: Path) -> NoReturn:
    for magic, kind in _OTHERS.items():
        if re.match(magic, head, re.DOTALL):
            raise UnsupportedError(
                f"{path} is {kind}", hint="symdiag reads torch (.pt), pickles, safetensors and npz."
            )
    # torch and npz claimed theirs already: a zip that gets here holds no arrays of either
    zipped = "a Keras" if b"model.weights.h5" in head else "a zip"
    kind = (
        f"{zipped} archive without arrays"
        if head.startswith(LOCAL_MAGIC)
        else "not a checkpoint in any known format"
    )
    raise UnreadableError(
        f"{path} is {kind}",
        code="unrecognised",
        hint="symdiag reads torch (.pt), pickles, safetensors and npz files.",
    )


def _refuse_open(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise UnreadableError(
            f"no such file: {path}", code="not-found", hint="Check the path."
        ) from error
    if isinstance(error, PermissionError):
        raise UnreadableError(
            f"no permission to read {path}",
            code="permission-denied",
            hint="Check the file's mode and owner.",
        ) from error
    reason = getattr(error, "strerror", None) or type(error).__name__
    raise UnreadableError(f"cannot read {path}: {reason}", hint="Check the path.") from error
