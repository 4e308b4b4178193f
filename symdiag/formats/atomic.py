"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from symdiag.errors import OutputError

_OPEN_FILES = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def atomic_write(
    path: str | os.PathLike[str], data: bytes | str, *, overwrite: bool = False
) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` atomically.

    Pipes and devices are written to directly.

    Raises:
        OutputError: the file exists and ``overwrite`` is False (code ``exists``), or writing failed
            (``write-failed``); an existing file is then unchanged.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    target = Path(path)
    # a pipe or device has no old content to protect, and renaming a file over it would replace it
    if _is_stream(target):
        _write_stream(target, content)
        return
    with replacing(target, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A private temporary file beside ``path``, to be filled in the ``with`` block; renamed to
    ``path`` at its end.

    Raises:
        OutputError: as `atomic_write`. Whatever the block itself raises passes through; the
            temporary file is removed and ``path`` is untouched either way.
    """
    target = Path(path)
    try:
        target = Path(
            os.path.realpath(target)
        )  # a link keeps pointing; the file behind it is replaced
        _check_target(target, overwrite)
        temporary = _create_beside(target)
    except (OSError, ValueError) as error:
        _refuse(target, error)
    try:
        yield temporary
        _publish(temporary, target, overwrite)
    except OSError as error:
        _refuse(target, error)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError(f"{target} is a directory", hint="Name a file.")
    if target.exists() and not overwrite:
        _refuse_existing(target)


def _create_beside(target: Path) -> Path:
    """An empty file in the same folder, with the old file's mode or the one the umask gives."""
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")
    # O_EXCL: a link planted under this name would otherwise be followed and written through; in the
    # same folder, since a rename is atomic within one filesystem only
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    if target.exists():
        with contextlib.suppress(OSError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    return temporary


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    """Flush to disk, then rename; without ``overwrite``, a file that appeared meanwhile wins."""
    # before the rename: a crash in between must not leave the new name on an empty file
    _fsync(temporary)
    if overwrite:
        temporary.replace(target)
    else:
        _link_new(temporary, target)
    if os.name == "posix":
        with contextlib.suppress(
            OSError
        ):  # some filesystems cannot sync a folder; the file itself is safe
            _fsync(target.parent)


def _link_new(temporary: Path, target: Path) -> None:
    """Give the finished file its name only if the name is free, atomically where links exist."""
    try:
        # link fails where the name exists, rename would replace it: no race between check and
        # rename
        os.link(temporary, target)
    except FileExistsError:
        _refuse_existing(target)
    except (OSError, NotImplementedError):
        if target.exists():
            _refuse_existing(target)
        temporary.replace(target)


def _fsync(path: Path) -> None:
    # a folder cannot be opened for writing, while some systems flush a file only through a writable
    # handle
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_stream(target: Path) -> bool:
    """Whether ``target`` is a pipe, a device, or an open file such as ``/dev/stdout``."""
    if str(target).startswith(_OPEN_FILES):
        return True
    try:
        mode = target.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_stream(target: Path, data: bytes) -> None:
    """Append, so that a stdout redirected to a file keeps what was printed before."""
    try:
        # a pipe takes what fits, hence the loop
        with target.open("ab", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
    except OSError as error:
        _refuse(target, error)


def _refuse_existing(target: Path) -> NoReturn:
    raise OutputError(
        f"{target} exists already", code="exists", hint="Choose another name, or allow overwriting."
    )


def _refuse(target: Path, error: Exception) -> NoReturn:
    reason = getattr(error, "strerror", None) or type(error).__name__
    raise OutputError(
        f"cannot write {target}: {reason}", hint="Check the folder, its permissions and free space."
    )
