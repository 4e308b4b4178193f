"""The strict zip reader beyond what torch and numpy write: zip64 fields and contradictory layouts."""

import io
import struct
import zlib

import pytest
from hostile_files import Entry, zip_bytes

from symdiag.errors import InputError
from symdiag.formats.limits import DEFAULT
from symdiag.formats.zip_archive import open_archive

DATA = b"0123456789"


def _zip64(*, field: bytes | None = None, locator_at: int = 0) -> bytes:
    """One stored member whose sizes and offset live in zip64 fields, as writers of large files put
    them.
    """
    extra = struct.pack("<2H3Q", 1, 24, len(DATA), len(DATA), 0) if field is None else field
    crc, huge = zlib.crc32(DATA), 0xFFFFFFFF
    body = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 33, crc, huge, huge, 1, 20) + b"a"
    body += struct.pack("<2H2Q", 1, 16, len(DATA), len(DATA)) + DATA
    padding = struct.pack("<2HL", 0x4642, 4, 0)
    fields = (45, 45, 0, 0, 0, 33, crc, huge, huge, 1, len(padding + extra), 0, 0, 0, 0, huge)
    directory = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields) + b"a" + padding + extra
    start = len(body)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(directory), start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(directory) + locator_at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, huge, huge, 0)
    return body + directory + end64 + locator + end


def _open(data: bytes) -> dict[str, bytes]:
    archive = open_archive(io.BytesIO(data), DEFAULT, allow_deflate=True)
    return {name: archive.payload(name) for name in archive.members}


def _code(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        _open(data)
    return caught.value.code


def test_zip64_sizes_and_offset():
    assert _open(_zip64()) == {"a": DATA}


def test_zip64_contradictions():
    assert _code(_zip64(field=b"")) == "corrupt"
    assert _code(_zip64(field=struct.pack("<2HQ", 1, 8, 10))) == "corrupt"
    assert _code(_zip64(locator_at=-4)) == "ambiguous-archive"
    assert _code(_zip64(field=struct.pack("<2H3Q", 1, 24, 1 << 62, 1 << 62, 0))) == "corrupt"


def test_stored_and_deflated_members():
    entries = [Entry("a", DATA), Entry("b", DATA * 100, method=8), Entry("é", b"")]
    assert _open(zip_bytes(entries)) == {"a": DATA, "b": DATA * 100, "é": b""}


def test_head_of_a_member():
    entries = [Entry("a", DATA), Entry("b", DATA * 1000, method=8)]
    archive = open_archive(io.BytesIO(zip_bytes(entries)), DEFAULT, allow_deflate=True)
    assert archive.head("a", 4) == DATA[:4]
    assert archive.head("a", 40) == DATA
    assert archive.head("b", 25) == (DATA * 3)[:25]


def test_members_that_share_bytes():
    """Two directory entries over the same local header: a bomb that no single ratio shows."""
    once = zip_bytes([Entry("a", DATA)])
    start = once.index(b"PK\x01\x02")
    entry = once[start : once.index(b"PK\x05\x06")]
    both = entry + entry.replace(b"a", b"b", 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(both), start, 0)
    assert _code(once[:start] + both + end) == "ambiguous-archive"
    twice = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(both), start, 0)
    assert _code(once[:start] + both + twice) == "ambiguous-archive"


def test_hidden_bytes():
    data = zip_bytes([Entry("a", DATA), Entry("b", DATA)])
    second = data.index(b"PK\x03\x04", 4)
    directory = data.index(b"PK\x01\x02")
    hidden = b"h" * 40
    moved = data[directory:].replace(
        struct.pack("<L", second) + b"b", struct.pack("<L", second + 40) + b"b"
    )
    moved = moved.replace(struct.pack("<L", directory), struct.pack("<L", directory + 40))
    assert _code(data[:second] + hidden + data[second:directory] + moved) == "ambiguous-archive"
    last = data[directory:].replace(struct.pack("<L", directory), struct.pack("<L", directory + 40))
    assert _code(data[:directory] + hidden + last) == "ambiguous-archive"


def test_deflated_member_shorter_than_declared():
    assert _code(zip_bytes([Entry("a", DATA, method=8, size=11)])) == "corrupt"
    entries = [Entry("a", DATA, method=8)]
    broken = zip_bytes(entries).replace(
        zlib.compress(DATA, 9)[2:-4], b"\xff" * len(zlib.compress(DATA, 9)[2:-4])
    )
    assert _code(broken) == "corrupt"
