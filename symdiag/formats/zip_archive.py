"""A strict reader for the zip files torch and numpy write.

Zip parsers disagree about malformed archives, and scanners have been bypassed that way. Whatever
two parsers could read differently (a second directory, local headers that contradict it,
overlapping members, encryption, duplicate names, bytes before or after) is refused, never repaired.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from symdiag.errors import LimitError, UnreadableError, shown
from symdiag.formats.limits import Limits

LOCAL_MAGIC = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
_CENTRAL_MAGIC, _END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC = (
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
)
_ALLOWED_FLAGS = 0x0808  # sizes in a trailing descriptor; UTF-8 names
_DESCRIPTOR_FLAG = 0x0008
# signature, CRC and two 64-bit sizes: the longest data descriptor there is
_MAX_DESCRIPTOR = 24
_AT_MOST_32, _AT_MOST_16 = 0xFFFFFFFF, 0xFFFF


@dataclass(frozen=True)
class Member:
    """One file in the archive; ``start`` is where its (possibly compressed) bytes begin."""

    name: str
    method: int
    crc: int
    packed_size: int
    size: int
    header_offset: int
    start: int


@dataclass(frozen=True)
class Archive:
    """A checked directory over an open stream."""

    stream: BinaryIO
    members: dict[str, Member]

    def head(self, name: str, length: int) -> bytes:
        """The first ``length`` bytes of a member (fewer if it is shorter), checksum not verified."""
        member = self.members[name]
        self.stream.seek(member.start)
        if member.method == STORED:
            return self.stream.read(min(length, member.size))
        # deflate adds a few bytes at most to what it cannot shrink: twice the length is ample
        return _inflated(self.stream.read(min(member.packed_size, 2 * length + 64)), member, length)

    def payload(self, name: str) -> bytes:
        """The member's bytes, decompressed to exactly the declared size, checksum verified.

        Raises:
            UnreadableError: damaged data (code ``corrupt``).
        """
        member = self.members[name]
        self.stream.seek(member.start)
        data = self.stream.read(member.packed_size)
        if member.method == DEFLATED:
            # one byte more than declared shows that there is more, without unpacking it all
            data = _inflated(data, member, member.size + 1)
        if len(data) > member.size:
            raise LimitError(
                f"member {shown(name)} unpacks to more than the {member.size} bytes it declares",
                hint="The archive is damaged or a decompression bomb.",
            )
        if len(data) != member.size:
            _corrupt(
                f"member {shown(name)} has {len(data)} bytes, its directory entry says {member.size}"
            )
        if zlib.crc32(data) != member.crc:
            _corrupt(f"member {shown(name)} fails its checksum (CRC-32)")
        return data


def open_archive(stream: BinaryIO, limits: Limits, *, allow_deflate: bool) -> Archive:
    """Parse and check the directory of the zip file in ``stream``.

    Args:
        stream: Seekable binary stream holding the whole file.
        limits: Caps on members and on what they unfold to.
        allow_deflate: Whether members may be compressed (npz) or must be stored (torch).

    Raises:
        UnreadableError: truncated, damaged (``corrupt``) or readable in two ways
            (``ambiguous-archive``).
        LimitError: too many members, or a decompression bomb.
    """
    size = stream.seek(0, 2)
    start, length, count = _find_directory(stream, size)
    # before the directory is parsed: its count is 16 or 64 bits of the file's own choosing
    if count > limits.max_members:
        raise LimitError(
            f"zip archive declares {count} members; at most {limits.max_members} are read",
            hint="Save the posterior's tensors alone.",
        )
    stream.seek(start)
    members = _parse_directory(stream, stream.read(length), count, start, allow_deflate)
    _check_no_overlap(members, start)
    limits.check_unfolded(
        sum(m.size for m in members), sum(m.packed_size for m in members), "zip archive"
    )
    return Archive(stream, {m.name: m for m in members})


def _find_directory(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """Start, length and entry count of the central directory, which must end the file."""
    # 22 bytes: the end record without a comment. Searching backwards for it, as most parsers do, is
    # what lets a comment hide a second directory
    if size < 22 or _peek(stream, size - 22, 4) != _END_MAGIC:
        _refuse_no_end(stream, size)
    fields = struct.unpack("<4H2LH", _peek(stream, size - 18, 18))
    disk, first_disk, here, count, length, start, comment = fields
    end = size - 22
    if disk or first_disk or comment:
        _ambiguous("it is split over several disks or carries a comment")
    if size >= 42 and _peek(stream, end - 20, 4) == _LOCATOR_MAGIC:
        end, here, count, length, start = _end64(stream, end - 20)
    # a gap between the directory and its end could hold another directory
    if here != count or start + length != end:
        _ambiguous("its central directory does not end where the file's index says")
    return start, length, count


def _end64(stream: BinaryIO, locator: int) -> tuple[int, int, int, int, int]:
    """The zip64 end record, which must sit directly before its locator."""
    offset = struct.unpack("<Q", _peek(stream, locator + 8, 8))[0]
    if locator < 56 or offset != locator - 56 or _peek(stream, offset, 4) != _END64_MAGIC:
        _ambiguous("its zip64 index is not where its locator says")
    record = struct.unpack("<Q2H2L4Q", _peek(stream, offset + 4, 52))
    here, count, length, start = record[5:]
    return offset, here, count, length, start


def _parse_directory(
    stream: BinaryIO, data: bytes, count: int, limit: int, allow_deflate: bool
) -> list[Member]:
    """Every entry of the central directory, each checked against its local header."""
    members: list[Member] = []
    names: set[str] = set()
    at = 0
    for _ in range(count):
        if data[at : at + 4] != _CENTRAL_MAGIC or at + 46 > len(data):
            _corrupt("its central directory is damaged")
        fields = struct.unpack("<6H3L5H2L", data[at + 4 : at + 46])
        name_size, extra_size, comment_size = fields[9:12]
        end = at + 46 + name_size + extra_size + comment_size
        if end > len(data):
            _corrupt("its central directory is damaged")
        name = _decoded(data[at + 46 : at + 46 + name_size])
        extra = data[at + 46 + name_size : at + 46 + name_size + extra_size]
        member = _member(stream, fields, name, extra, limit, allow_deflate)
        # which of the two is returned differs from one parser to the next
        if name in names:
            _ambiguous(f"two members are called {shown(name)}")
        names.add(name)
        members.append(member)
        at = end
    if at != len(data):
        _ambiguous("its central directory holds more than its entries")
    return members


def _member(
    stream: BinaryIO,
    fields: tuple[int, ...],
    name: str,
    extra: bytes,
    limit: int,
    allow_deflate: bool,
) -> Member:
    """One directory entry as a `Member`, after checking flags, method and the local header."""
    flags, method, crc = fields[2], fields[3], fields[6]
    packed, size, offset = _wide(fields[7], fields[8], fields[15], extra)
    if flags & ~_ALLOWED_FLAGS:
        _ambiguous(
            f"member {shown(name)} sets flag bits {flags:#06x} (encryption or other features)"
        )
    if method not in ((STORED, DEFLATED) if allow_deflate else (STORED,)):
        _ambiguous(f"member {shown(name)} is compressed with method {method}")
    # one parser would read the first size, another the second
    if method == STORED and packed != size:
        _ambiguous(f"member {shown(name)} is stored but declares two different sizes")
    start = _check_local(stream, name, flags, method, (crc, packed, size), offset, limit)
    return Member(name, method, crc, packed, size, offset, start)


def _wide(packed: int, size: int, offset: int, extra: bytes) -> tuple[int, int, int]:
    """Sizes and offset with zip64 values filled in where the short fields are saturated."""
    # the order in which the zip64 field lists those that did not fit in 32 bits
    values = [size, packed, offset]
    wanted = [i for i, value in enumerate(values) if value == _AT_MOST_32]
    if not wanted:
        return packed, size, offset
    field = _extra_field(extra, 1)
    if len(field) < 8 * len(wanted):
        _corrupt("a zip64 size is missing")
    for place, i in enumerate(wanted):
        values[i] = struct.unpack_from("<Q", field, 8 * place)[0]
    return values[1], values[0], values[2]


def _extra_field(extra: bytes, tag: int) -> bytes:
    """Content of the extra field ``tag``; empty when absent."""
    at = 0
    while at + 4 <= len(extra):
        found, length = struct.unpack_from("<2H", extra, at)
        if found == tag:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _check_local(
    stream: BinaryIO,
    name: str,
    flags: int,
    method: int,
    sizes: tuple[int, int, int],
    offset: int,
    limit: int,
) -> int:
    """Where the member's bytes start, once its local header agrees with the directory."""
    header = _peek(stream, offset, 30) if offset + 30 <= limit else b""
    if header[:4] != LOCAL_MAGIC:
        _corrupt(f"member {shown(name)} lies outside the file")
    fields = struct.unpack("<5H3L2H", header[4:])
    name_size, extra_size = fields[8:]
    start: int = offset + 30 + name_size + extra_size
    if start + sizes[1] > limit:
        _corrupt(f"member {shown(name)} lies outside the file")
    local_name = _decoded(_peek(stream, offset + 30, name_size))
    if (local_name, fields[1], fields[2]) != (name, flags, method):
        _ambiguous(f"member {shown(name)} is described differently by its own header")
    for local, central in zip(fields[5:8], sizes, strict=True):
        # a writer that streams fills in sizes and checksum after the data: zeros are then no lie
        deferred = local == _AT_MOST_32 or (local == 0 and flags & _DESCRIPTOR_FLAG)
        if local != central and not deferred:
            _ambiguous(f"member {shown(name)} is described differently by its own header")
    return start


def _check_no_overlap(members: list[Member], directory: int) -> None:
    """Members must tile the file from its first byte up to the directory, bar their data
    descriptors.
    """
    end = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        if not end <= member.header_offset <= end + _MAX_DESCRIPTOR or (
            end == 0 and member.header_offset
        ):
            _ambiguous(
                f"member {shown(member.name)} overlaps another, or bytes lie hidden before it"
            )
        end = member.start + member.packed_size
    if not end <= directory <= end + _MAX_DESCRIPTOR:
        _ambiguous("bytes lie hidden before its central directory")


def _inflated(data: bytes, member: Member, length: int) -> bytes:
    """Raw deflate, at most ``length`` bytes of it."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, length)
    except zlib.error as error:
        _corrupt(f"member {shown(member.name)} does not decompress ({error})")


def _peek(stream: BinaryIO, offset: int, length: int) -> bytes:
    """Exactly ``length`` bytes at ``offset``."""
    stream.seek(offset)
    data = stream.read(length)
    if len(data) != length:
        _corrupt("it ends early")
    return data


def _decoded(name: bytes) -> str:
    """A member name as text; latin-1 never fails and keeps distinct names distinct."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _refuse_no_end(stream: BinaryIO, size: int) -> NoReturn:
    """No index at the very end: either cut off, or something was appended."""
    # 22 bytes of record and a comment of 65 535 at most
    tail = _peek(stream, max(0, size - 65_557), min(size, 65_557))
    if _END_MAGIC in tail:
        _ambiguous("bytes follow its index (a comment or appended data)")
    raise UnreadableError(
        f"truncated: a zip archive of {size} bytes without its index at the end",
        code="truncated",
        hint="The copy or download is incomplete; fetch the file again.",
    )


def _corrupt(message: str) -> NoReturn:
    raise UnreadableError(
        f"damaged zip archive: {message}",
        code="corrupt",
        hint="Copy or download the file again, or save it anew.",
    )


def _ambiguous(message: str) -> NoReturn:
    raise UnreadableError(
        f"ambiguous zip archive: {message}",
        code="ambiguous-archive",
        hint="torch.save and numpy.savez do not write such files; save the checkpoint anew.",
    )
