"""What torch.save writes: a zip with one pickle and raw storages.

The zip must be exactly what torch writes; its pickle is then interpreted without importing or
calling anything, and the tensors' numbers are copied out of the members. torch is not needed.
"""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO, NoReturn

from symdiag.errors import LimitError, UnreadableError, UnsupportedError, shown
from symdiag.formats.containers.torch._calls import storage_dtype
from symdiag.formats.containers.torch._machine import Machine, run_bytes
from symdiag.formats.containers.torch._plain import Plain
from symdiag.formats.containers.torch._values import Global, Storage, count, exact
from symdiag.formats.containers.torch._writing import saved
from symdiag.formats.containers.torch.legacy import nested_storage
from symdiag.formats.interface import Content, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import Limits
from symdiag.formats.zip_archive import LOCAL_MAGIC, Archive, open_archive

name = "torch-zip"
_PICKLE = "data.pkl"
_ACCESSORIES = frozenset(
    {"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}
)
_EXPORTED = ("archive_format", "serialized_exported_program.json", "models/model.json")
_STATE_DICT = "Where the module can be built, save torch.save(module.state_dict(), 'model.pt')."


def matches(stream: BinaryIO, limits: Limits) -> bool:
    """Whether this is a zip archive with a ``data.pkl`` in it, or an exported program."""
    stream.seek(0)
    if stream.read(4) != LOCAL_MAGIC:
        return False
    members = open_archive(stream, limits, allow_deflate=True).members
    return any(n.rpartition("/")[2] == _PICKLE or n.endswith(_EXPORTED) for n in members)


def header(stream: BinaryIO, limits: Limits) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
    """Names, shapes and dtypes, from the pickle's text alone."""
    root, size = _interpreted(stream, limits, None)
    return Plain(limits, size, load=False).header(root)


def read(stream: BinaryIO, limits: Limits) -> Content:
    """The tree, with arrays for tensors and plain dicts for objects."""
    whole = stream.getvalue() if isinstance(stream, io.BytesIO) else _all(stream)
    root, size = _interpreted(stream, limits, memoryview(whole))
    return Plain(limits, size).content(root)


def encode(raw: RawCheckpoint) -> bytes:
    """``raw.tree`` as torch.save writes it; foreign dtypes return to their own kind."""
    return saved(raw, zipped=True)


def _all(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _interpreted(stream: BinaryIO, limits: Limits, whole: memoryview | None) -> tuple[Any, int]:
    """What the pickle describes, storages bound to their members, and the members' total size."""
    archive = open_archive(stream, limits, allow_deflate=True)
    folder = _check_members(archive)
    if archive.members[folder + _PICKLE].size > limits.max_pickle_bytes:
        raise LimitError(
            f"{_PICKLE} is larger than {limits.max_pickle_bytes} bytes",
            hint="Save only the state dict.",
        )
    if whole is not None:
        _verify(archive, whole)
    # The machine asks for each storage by its persistent id while it runs; none is read until then.
    storages = _Storages(archive, folder, whole)
    machine = Machine(limits, storages.storage, nested_storage)
    root = run_bytes(machine, archive.payload(folder + _PICKLE))
    return root, sum(m.size for m in archive.members.values())


def _verify(archive: Archive, whole: memoryview) -> None:
    """Every member's checksum, over the bytes in place."""
    for member in archive.members.values():
        if zlib.crc32(whole[member.start : member.start + member.size]) != member.crc:
            archive.payload(member.name)  # says which one fails, and how


class _Storages:
    """The persistent ids of one archive: its members under ``data/``."""

    def __init__(self, archive: Archive, folder: str, whole: memoryview | None) -> None:
        self.archive, self.folder, self.whole = archive, folder, whole
        self.roots: dict[str, Storage] = {}
        order = f"{folder}byteorder"
        self.big = order in archive.members and archive.payload(order) == b"big"

    def storage(self, identifier: Any) -> Any:
        """``('storage', class, key, location, numel)``; one root for all that share a member."""
        tag, kind, key, _location, numel = exact(identifier, tuple)[:5]
        if tag != "storage" or not isinstance(kind, Global) or len(key) > 64:
            raise ValueError("unknown persistent id")
        found = Storage(exact(key, str), storage_dtype(kind), count(numel))
        found.owner = self.roots.setdefault(found.key, found)
        found.owner.big_endian = self.big
        member = self.archive.members.get(f"{self.folder}data/{found.key}")
        if member is not None:
            found.held = member.size
            if self.whole is not None:
                found.owner.block = self.whole[member.start : member.start + member.size]
        return found


def _check_members(archive: Archive) -> str:
    """The archive's one top folder, once it holds what torch.save writes and nothing else."""
    # Named first: a TorchScript archive has a data.pkl, too, of objects of classes in code/.
    pickles = [n for n in archive.members if n.endswith(".pkl")]
    if any("/code/" in n or n.endswith("constants.pkl") for n in archive.members):
        raise UnsupportedError(
            "a TorchScript archive (torch.jit.save): its network is compiled code", hint=_STATE_DICT
        )
    if any(n.endswith(_EXPORTED) for n in archive.members):
        raise UnsupportedError("a torch.export archive: its network is a graph", hint=_STATE_DICT)
    if len(pickles) != 1 or not pickles[0].endswith(f"/{_PICKLE}") or pickles[0].count("/") != 1:
        _ambiguous(
            f"it holds {len(pickles)} pickles; one {_PICKLE}, in one top folder, is expected"
        )
    folder = pickles[0].removesuffix(_PICKLE)
    for member in archive.members.values():
        inner = member.name.removeprefix(folder)
        known = inner == _PICKLE or inner in _ACCESSORIES or _is_storage(inner)
        if not member.name.startswith(folder) or not known:
            _ambiguous(f"member {shown(member.name)} is not one torch.save writes")
        if member.method:
            _ambiguous(f"member {shown(member.name)} is compressed with method {member.method}")
    return folder


def _is_storage(inner: str) -> bool:
    top, _, key = inner.partition("/")
    return top == "data" and key.isascii() and key.isdigit()


def _ambiguous(message: str) -> NoReturn:
    raise UnreadableError(
        f"ambiguous torch archive: {message}",
        code="ambiguous-archive",
        hint="Save the file anew with torch.save.",
    )
