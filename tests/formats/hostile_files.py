"""Builds every bad file that docs/security.md lists, each with the code it must be refused with."""

import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Touch:
    """Pickles to a call that creates the canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.canary), "w")


@dataclass
class Entry:
    """One zip member with every field open to falsification."""

    name: str
    data: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    local_name: str | None = None
    local_flags: int | None = None


def zip_bytes(
    entries: list[Entry], *, before: bytes = b"", comment: bytes = b"", count: int | None = None
) -> bytes:
    """A zip archive of ``entries``, written naively."""
    body, directory = before, b""
    for e in entries:
        packed = zlib.compress(e.data, 9)[2:-4] if e.method == 8 else e.data
        crc = zlib.crc32(e.data) if e.crc is None else e.crc
        size = len(e.data) if e.size is None else e.size
        local_name = (e.local_name or e.name).encode()
        local_flags = e.flags if e.local_flags is None else e.local_flags
        offset = len(body)
        sizes = (crc, len(packed), size)
        body += struct.pack(
            "<4s5H3L2H", b"PK\x03\x04", 20, local_flags, e.method, 0, 33, *sizes, len(local_name), 0
        )
        body += local_name + packed
        name = e.name.encode()
        fields = (20, 20, e.flags, e.method, 0, 33, *sizes, len(name), 0, 0, 0, 0, 0, offset)
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields) + name
    n = len(entries) if count is None else count
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, n, n, len(directory), len(body), len(comment)
    )
    return body + directory + end + comment


def torch_entries(obj: Any) -> list[Entry]:
    """The members torch.save writes for ``obj``."""
    out = io.BytesIO()
    torch.save(obj, out)
    with zipfile.ZipFile(out) as archive:
        return [Entry(name, archive.read(name)) for name in archive.namelist()]


def torch_with_pickle(program: bytes, **storages: bytes) -> bytes:
    """A torch archive around a hand-written pickle."""
    blocks = [Entry(f"archive/data/{key.lstrip('s')}", data) for key, data in storages.items()]
    return zip_bytes(
        [Entry("archive/data.pkl", program), Entry("archive/version", b"3\n"), *blocks]
    )


def good_state() -> dict[str, torch.Tensor]:
    """A small mean-field layer."""
    g = torch.Generator().manual_seed(0)
    return OrderedDict(
        (name, torch.randn(shape, generator=g))
        for name, shape in {
            "fc1.mu_weight": (3, 2),
            "fc1.rho_weight": (3, 2),
            "fc1.mu_bias": (3,),
            "fc1.rho_bias": (3,),
        }.items()
    )


def safetensors_bytes(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with any header at all."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    """One safetensors header entry."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def npy_bytes(header: str, data: bytes = b"") -> bytes:
    """An npy file (version 1.0) with any header text."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz_bytes(header: str, data: bytes = b"", **kwargs: Any) -> bytes:
    """An npz file of one array called w."""
    return zip_bytes([Entry("w.npy", npy_bytes(header, data), **kwargs)])


def npy_header(shape: object, descr: str = "'<f4'") -> str:
    """The text of an npy header."""
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


@dataclass(frozen=True)
class Fault:
    """A bad file: its row in docs/security.md, its bytes, the code and words of the refusal."""

    row: int
    label: str
    content: Callable[[Path], bytes]
    code: str
    says: str = ""
    suffix: str = ".pt"
    in_header: bool = field(default=True)  # whether reading the header alone can notice


def _pickled(protocol: int) -> Callable[[Path], bytes]:
    return lambda canary: pickle.dumps({"state_dict": Touch(canary)}, protocol=protocol)


def _in_torch_zip(canary: Path) -> bytes:
    return torch_with_pickle(pickle.dumps({"fc.mu": Touch(canary)}, protocol=2))


def legacy_with_pickle(program: bytes, keys: tuple[str, ...] = (), storages: bytes = b"") -> bytes:
    """A torch file from before zip around a hand-written pickle."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    before = (0x1950A86A20F9469CFC6C, 1001, system)
    head = b"".join(pickle.dumps(value, protocol=2) for value in before)
    return head + program + pickle.dumps(list(keys), protocol=2) + storages


def _legacy(canary: Path) -> bytes:
    return legacy_with_pickle(pickle.dumps({"fc.mu": Touch(canary)}, protocol=2))


def _in_storage(canary: Path) -> bytes:
    inner = pickle.dumps(Touch(canary), protocol=2)
    return b"\x80\x04ctorch.storage\n_load_from_bytes\nC" + bytes([len(inner)]) + inner + b"\x85R."


def _scripted(canary: Path) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates making them; files remain
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), out)
    return out.getvalue()


def _exported(canary: Path) -> bytes:
    names = ("archive_format", "version", "byteorder", "models/model.json", "data/weights/weight_0")
    return zip_bytes([Entry(f"model/{name}", b"pt2") for name in names])


def _saved(obj: Any) -> Callable[[Path], bytes]:
    def build(canary: Path) -> bytes:
        out = io.BytesIO()
        torch.save(obj, out)
        return out.getvalue()

    return build


def _changed(**changes: Any) -> Callable[[Path], bytes]:
    """A good torch archive whose last storage entry is falsified."""

    def build(canary: Path) -> bytes:
        entries = torch_entries(good_state())
        victim = next(e for e in entries if e.name.endswith("data/0"))
        for key, value in changes.items():
            setattr(victim, key, value)
        return zip_bytes(entries)

    return build


def _with(extra: Callable[[list[Entry]], list[Entry]], **kwargs: Any) -> Callable[[Path], bytes]:
    return lambda canary: zip_bytes(extra(torch_entries(good_state())), **kwargs)


def _rebuild(
    storage_numel: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> bytes:
    """The program of a torch pickle with one float32 tensor ``w``, any numbers."""

    def number(n: int) -> bytes:
        return pickle.dumps(n, protocol=2)[2:-1]

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(number(n) for n in values) + b"t"

    pid = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + number(storage_numel)
    )
    made = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + pid
        + b"tQ"
        + number(offset)
        + numbers(shape)
        + numbers(stride)
    )
    return b"\x80\x02}X\x01\x00\x00\x00w" + made + b"\x89ccollections\nOrderedDict\n)RtRs."


def _billion_laughs(depth: int) -> bytes:
    """Lists of lists of the same list: tiny in memory, 2**depth leaves when walked."""
    return (
        b"\x80\x02]q\x00K\x01a"
        + b"".join(b"]q%c(h%ch%ce" % (i, i - 1, i - 1) for i in range(1, depth))
        + b"."
    )


def _same_hashes(count: int) -> bytes:
    """A dict whose keys are multiples of 2**61 - 1: their hashes are all 0, and filling it takes count**2 / 2 steps."""
    keys = b"".join(
        b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"K\x01"
        for i in range(1, count + 1)
    )
    return b"\x80\x02}(" + keys + b"u."


def _twice(entries: list[Entry]) -> list[Entry]:
    return [*entries, entries[0]]


def _second_folder(entries: list[Entry]) -> list[Entry]:
    return [*entries, Entry("other/data.pkl", entries[0].data)]


def _nested(entries: list[Entry]) -> list[Entry]:
    return [*entries, Entry("archive/inner.zip", zip_bytes(entries))]


def _deflated(entries: list[Entry]) -> list[Entry]:
    return [Entry(e.name, e.data, method=8) for e in entries]


def _script(entries: list[Entry]) -> list[Entry]:
    return [*entries, Entry("archive/code/__torch__.py", b"def forward(self): pass")]


def _first(content: Callable[[Path], bytes], length: int) -> Callable[[Path], bytes]:
    return lambda canary: content(canary)[:length]


def _quantised(canary: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates making them; files remain
        return _saved({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})(canary)


F4 = {"w": tensor("F32", [2], 0, 8)}
HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
ZERO_MIB = bytes(1 << 20)

FAULTS = (
    Fault(1, "payload in a torch zip", _in_torch_zip, "unsafe-checkpoint", "io.open"),
    Fault(
        1, "payload in a torch zip named bin", _in_torch_zip, "unsafe-checkpoint", "io.open", ".bin"
    ),
    Fault(
        1, "payload in a torch zip named npz", _in_torch_zip, "unsafe-checkpoint", "io.open", ".npz"
    ),
    *(
        Fault(
            2,
            f"bare pickle, protocol {p}, {suffix}",
            _pickled(p),
            "unsafe-checkpoint",
            "io.open",
            suffix,
        )
        for p in range(6)
        for suffix in (".pt", ".safetensors", ".bin")
    ),
    Fault(
        2,
        "bare pickle whose call comes late",
        lambda canary: pickle.dumps([bytes(1 << 21), Touch(canary)]),
        "unsafe-checkpoint",
        "io.open",
    ),
    Fault(2, "payload in a file older than zip", _legacy, "unsafe-checkpoint", "io.open"),
    Fault(
        2,
        "payload inside the storage of a bare pickle",
        _in_storage,
        "unsupported",
        "in a form torch does not write",
    ),
    Fault(3, "TorchScript", _with(_script), "unsupported", "TorchScript"),
    Fault(3, "TorchScript as torch writes it", _scripted, "unsupported", "TorchScript"),
    Fault(3, "torch.export", _exported, "unsupported", "torch.export"),
    Fault(4, "two data.pkl, one name", _with(_twice), "ambiguous-archive", "two members"),
    Fault(4, "two data.pkl, two folders", _with(_second_folder), "ambiguous-archive", "2 pickles"),
    Fault(4, "nested archive", _with(_nested), "ambiguous-archive", "inner.zip"),
    Fault(5, "bad checksum", _changed(crc=1), "corrupt", "checksum", in_header=False),
    Fault(6, "encrypted", _changed(flags=1), "ambiguous-archive", "flag bits"),
    Fault(
        6,
        "other flag bits in the local header",
        _changed(local_flags=1),
        "ambiguous-archive",
        "differently",
    ),
    Fault(
        6,
        "other name in the local header",
        _changed(local_name="archive/data/9"),
        "ambiguous-archive",
    ),
    Fault(6, "compressed torch members", _with(_deflated), "ambiguous-archive", "compressed"),
    Fault(
        6,
        "two sizes for a stored member",
        _changed(size=3),
        "ambiguous-archive",
        "two different sizes",
    ),
    Fault(7, "bytes before the archive", _with(lambda e: e, before=b"#!/bin/sh\n"), "unrecognised"),
    Fault(
        7, "zip comment", _with(lambda e: e, comment=b"hello"), "ambiguous-archive", "bytes follow"
    ),
    Fault(
        7,
        "data after the archive",
        lambda c: _saved(good_state())(c) + b"x" * 9,
        "ambiguous-archive",
    ),
    Fault(7, "wrong entry count", _with(lambda e: e, count=2), "ambiguous-archive"),
    Fault(
        8,
        "npz bomb",
        lambda _: npz_bytes(npy_header((1 << 25,)), bytes(1 << 27), method=8),
        "limit-exceeded",
        "decompression bomb",
        ".npz",
    ),
    Fault(
        8,
        "npz member larger than declared",
        lambda _: npz_bytes(npy_header((2,)), ZERO_MIB, method=8, size=136),
        "limit-exceeded",
        "unpacks to more",
        ".npz",
        in_header=False,
    ),
    Fault(
        8,
        "npz of empty texts",
        lambda _: npz_bytes(npy_header((1 << 24,), "'<U0'")),
        "limit-exceeded",
        "16777216 texts",
        ".npz",
    ),
    Fault(
        8,
        "npz of many texts",
        lambda _: npz_bytes(npy_header((1 << 23,), "'<U1'"), b"\xac\x20\0\0" * (1 << 23), method=8),
        "limit-exceeded",
        "8388608 texts",
        ".npz",
    ),
    Fault(
        9,
        "npz shape 2^40",
        lambda _: npz_bytes(npy_header((1 << 40,))),
        "limit-exceeded",
        "2",
        ".npz",
    ),
    Fault(
        9,
        "npz shape 2^62 x 0",
        lambda _: npz_bytes(npy_header((1 << 62, 0))),
        "limit-exceeded",
        "",
        ".npz",
    ),
    Fault(
        9,
        "npz 65 axes",
        lambda _: npz_bytes(npy_header((1,) * 65), bytes(4)),
        "limit-exceeded",
        "65 axes",
        ".npz",
    ),
    Fault(
        9,
        "torch shape 2^40 by stride 0",
        lambda _: torch_with_pickle(_rebuild(1, 0, (1 << 20, 1 << 20), (0, 0)), s0=bytes(4)),
        "limit-exceeded",
        "tensor w declares",
    ),
    Fault(
        9,
        "many expanded torch tensors",
        _saved([torch.zeros(1).expand(1 << 22)] * 8),
        "limit-exceeded",
    ),
    Fault(
        9,
        "safetensors shape 2^40",
        lambda _: safetensors_bytes({"w": tensor("F32", [1 << 40], 0, 1 << 42)}),
        "limit-exceeded",
        "tensor w",
        ".safetensors",
    ),
    Fault(
        9,
        "safetensors shape overflow",
        lambda _: safetensors_bytes({"w": tensor("F32", [1 << 62, 4], 0, 0)}),
        "limit-exceeded",
        "tensor w",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors header of 2^63",
        lambda _: safetensors_bytes(F4, bytes(8), length=1 << 63),
        "limit-exceeded",
        "header declares",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors overlap",
        lambda _: safetensors_bytes({**F4, "v": tensor("F32", [1], 4, 8)}, bytes(8)),
        "malformed-header",
        "overlaps",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors hole",
        lambda _: safetensors_bytes({"w": tensor("F32", [2], 4, 12)}, bytes(12)),
        "malformed-header",
        "hole",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors trailing bytes",
        lambda _: safetensors_bytes(F4, bytes(9)),
        "malformed-header",
        "1 bytes follow",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors duplicate key",
        lambda _: safetensors_bytes(
            b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            bytes(4),
        ),
        "malformed-header",
        "twice",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors extent",
        lambda _: safetensors_bytes({"w": tensor("F32", [3], 0, 8)}, bytes(8)),
        "malformed-header",
        "needs 12 bytes",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors negative offset",
        lambda _: safetensors_bytes({"w": tensor("F32", [0], -1, -1)}),
        "malformed-header",
        "non-negative",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors metadata",
        lambda _: safetensors_bytes({"__metadata__": {"a": 1}}),
        "malformed-header",
        "__metadata__",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors not JSON",
        lambda _: safetensors_bytes(b"{nope}"),
        "malformed-header",
        "JSON",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors deep JSON",
        lambda _: safetensors_bytes(b'{"a":' + b"[" * 200_000),
        "malformed-header",
        "JSON",
        ".safetensors",
    ),
    Fault(
        10,
        "safetensors entry is a list",
        lambda _: safetensors_bytes({"w": [1]}),
        "malformed-header",
        "lacks",
        ".safetensors",
    ),
    Fault(
        10,
        "npz header not a header",
        lambda _: npz_bytes("open('x')"),
        "malformed-header",
        "header",
        ".npz",
    ),
    Fault(
        10,
        "npz header and data disagree",
        lambda _: npz_bytes(npy_header((3,)), bytes(8)),
        "malformed-header",
        "12 bytes, 8 follow",
        ".npz",
    ),
    Fault(
        10,
        "npz negative shape",
        lambda _: npz_bytes(npy_header((-1,))),
        "malformed-header",
        "negative",
        ".npz",
    ),
    Fault(
        10,
        "npz text beyond Unicode",
        lambda _: npz_bytes(npy_header((1,), "'<U1'"), b"\0\0\x11\0"),
        "malformed-header",
        "invalid text",
        ".npz",
        in_header=False,
    ),
    Fault(
        10,
        "npz stray member",
        lambda _: zip_bytes([Entry("w.npy", npy_bytes(npy_header((0,)))), Entry("x", b"")]),
        "ambiguous-archive",
        "x is not",
        ".npz",
    ),
    Fault(11, "truncated torch file", _first(_saved(good_state()), 900), "truncated", "900 bytes"),
    Fault(
        11,
        "truncated safetensors",
        lambda _: safetensors_bytes(F4, bytes(5)),
        "truncated",
        "expected 8 bytes, got 5",
        ".safetensors",
    ),
    Fault(
        11,
        "truncated safetensors header",
        lambda _: safetensors_bytes(F4)[:30],
        "truncated",
        "got 30",
        ".safetensors",
    ),
    Fault(12, "0 bytes", lambda _: b"", "empty-file", "0 bytes"),
    Fault(13, "git-LFS pointer", lambda _: LFS, "lfs-pointer", "pointer"),
    Fault(14, "HTML page", lambda _: b"\n " + HTML, "html-page", "web page"),
    Fault(
        15,
        "random bytes",
        lambda _: np.random.default_rng(0).bytes(4096),
        "unrecognised",
        "known format",
    ),
    Fault(15, "HDF5", lambda _: b"\x89HDF\r\n\x1a\n" + bytes(64), "unsupported", "HDF5", ".h5"),
    Fault(
        15,
        "single npy array",
        lambda _: npy_bytes(npy_header((2,)), bytes(8)),
        "unsupported",
        "npy array",
        ".npy",
    ),
    Fault(
        15,
        "ONNX",
        lambda _: b"\x08\x07\x12\x07pytorch\x1a\x052.0.1",
        "unsupported",
        "ONNX",
        ".onnx",
    ),
    Fault(15, "TFLite", lambda _: b"\x1c\0\0\0TFL3" + bytes(64), "unsupported", "Lite", ".tflite"),
    Fault(15, "GGUF", lambda _: b"GGUF\x03\0\0\0" + bytes(64), "unsupported", "GGUF", ".gguf"),
    Fault(15, "tar", lambda _: bytes(257) + b"ustar\0" + bytes(249), "unsupported", "tar archive"),
    Fault(
        15,
        "Keras",
        lambda _: zip_bytes([Entry("config.json", b"{}"), Entry("model.weights.h5", b"\x89HDF")]),
        "unrecognised",
        "a Keras archive",
        ".keras",
    ),
    Fault(
        15,
        "zip without arrays",
        lambda _: zip_bytes([Entry("a.txt", b"hi")]),
        "unrecognised",
        "without arrays",
    ),
    Fault(
        15,
        "plain text",
        lambda _: b"In the beginning was the word.",
        "unrecognised",
        "known format",
    ),
    Fault(
        16,
        "object array",
        lambda _: npz_bytes(npy_header((1,), "'|O'"), b"x" * 8),
        "unsafe-checkpoint",
        "array w",
        ".npz",
    ),
    Fault(
        17,
        "complex torch",
        _saved({"w": torch.ones(2, dtype=torch.complex64)}),
        "unsupported-dtype",
        "complex64",
    ),
    Fault(
        17,
        "complex npz",
        lambda _: npz_bytes(npy_header((1,), "'<c8'"), bytes(8)),
        "unsupported-dtype",
        "w.npy",
        ".npz",
    ),
    Fault(
        17,
        "structured npz",
        lambda _: npz_bytes(npy_header((1,), "[('a', '<f4')]"), bytes(4)),
        "unsupported-dtype",
        "w.npy",
        ".npz",
    ),
    Fault(
        17,
        "complex safetensors",
        lambda _: safetensors_bytes({"w": tensor("C64", [1], 0, 8)}, bytes(8)),
        "unsupported-dtype",
        "C64",
        ".safetensors",
    ),
    Fault(
        17,
        "meta",
        _saved({"w": torch.ones(2, device="meta")}),
        "unsupported-tensor",
        "tensor w is meta",
    ),
    Fault(
        17,
        "sparse",
        _saved({"w": torch.eye(2).to_sparse()}),
        "unsupported-tensor",
        "tensor w is sparse",
    ),
    Fault(17, "quantised", _quantised, "unsupported-tensor", "tensor w is quantised"),
    Fault(
        18,
        "tensor beyond its storage",
        lambda _: torch_with_pickle(_rebuild(1, 0, (5,), (1,)), s0=bytes(4)),
        "corrupt",
        "reaches 20 bytes into a storage of 4",
    ),
    Fault(
        18,
        "storage size differs",
        lambda _: torch_with_pickle(_rebuild(9, 0, (1,), (1,)), s0=bytes(4)),
        "corrupt",
        "declares a storage of 36 bytes, the archive holds 4",
    ),
    Fault(
        18,
        "storage missing",
        lambda _: torch_with_pickle(_rebuild(1, 0, (1,), (1,))),
        "corrupt",
        "holds 0",
    ),
    Fault(
        18,
        "negative stride",
        lambda _: torch_with_pickle(_rebuild(1, 0, (1,), (-1,)), s0=bytes(4)),
        "corrupt",
    ),
    Fault(
        18,
        "damaged pickle",
        lambda _: torch_with_pickle(b"\x80\x02}X\x01\x00\x00\x00ws."),
        "corrupt",
        "pickle",
    ),
    Fault(18, "endless pickle", lambda _: torch_with_pickle(b"\x80\x02}"), "corrupt", "pickle"),
    Fault(
        19,
        "more tensors than entries are read",
        lambda _: safetensors_bytes({str(i): tensor("F32", [0], 0, 0) for i in range(200_001)}),
        "limit-exceeded",
        "200001 entries",
        ".safetensors",
    ),
    Fault(
        19,
        "billion laughs",
        lambda _: torch_with_pickle(_billion_laughs(60)),
        "limit-exceeded",
        "entries",
    ),
    Fault(
        19,
        "self-reference",
        lambda _: torch_with_pickle(b"\x80\x02]q\x00h\x00a."),
        "limit-exceeded",
        "deeper",
    ),
    Fault(
        19,
        "deep nesting",
        lambda _: torch_with_pickle(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
        "limit-exceeded",
        "deeper",
    ),
    Fault(
        19,
        "dict keys of one hash",
        lambda _: torch_with_pickle(_same_hashes(100_000)),
        "limit-exceeded",
        "one hash",
    ),
    Fault(
        19,
        "nested tuple as a key",
        lambda _: torch_with_pickle(b"\x80\x02}))\x86K\x01s."),
        "corrupt",
        "pickle",
    ),
)
