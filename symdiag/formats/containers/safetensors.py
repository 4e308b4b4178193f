"""safetensors: a JSON header, then raw little-endian tensors.

Parsed here, rule by rule, with numpy alone.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import LimitError, OutputError, UnreadableError, UnsupportedError, shown
from symdiag.formats import dtypes, tree
from symdiag.formats.interface import Content, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import Limits

name = "safetensors"
_METADATA = "__metadata__"
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_TAGS = {dtype: tag for tag, dtype in _DTYPES.items()}


def matches(stream: BinaryIO, limits: Limits) -> bool:
    """Whether a header length is followed by the brace that must open the header."""
    # 8 bytes of length, then JSON: no other format has a brace at byte 8 (a zip's is binary)
    stream.seek(0)
    return stream.read(9)[8:9] == b"{"


def header(stream: BinaryIO, limits: Limits) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
    """Names, shapes and dtypes from the header alone."""
    entries, metadata, _ = _parse(stream, limits)
    return tuple(HeaderEntry(e["key"], e["shape"], e["dtype"]) for e in entries), metadata


def read(stream: BinaryIO, limits: Limits) -> Content:
    """All tensors as a flat dict of arrays."""
    entries, metadata, start = _parse(stream, limits)
    arrays: dict[str, NDArray[Any]] = {}
    foreign: dict[str, str] = {}
    for entry in entries:
        stream.seek(start + entry["begin"])
        data = stream.read(entry["end"] - entry["begin"])
        if entry["dtype"] in dtypes.FOREIGN_ITEMSIZE:
            foreign[entry["key"]] = entry["dtype"]
            flat: NDArray[Any] = dtypes.decode(data, entry["dtype"])
        else:
            flat = np.frombuffer(data, np.dtype(entry["dtype"]).newbyteorder("<")).astype(
                entry["dtype"]
            )
        arrays[entry["key"]] = flat.reshape(entry["shape"])
    return Content(tree=arrays, metadata=metadata, foreign_dtypes=foreign)


def encode(raw: RawCheckpoint) -> bytes:
    """``raw.tree``, flattened, as a safetensors file; foreign dtypes get their own encoding."""
    table: dict[str, Any] = {_METADATA: dict(raw.metadata)} if raw.metadata else {}
    blocks: list[bytes] = []
    at = 0
    for key, leaf in sorted(tree.leaves(raw.tree), key=lambda item: _by_alignment(item, raw)):
        if not isinstance(leaf, np.ndarray):
            raise OutputError(
                f"safetensors holds tensors only; {shown(key)} is a {type(leaf).__name__}"
            )
        dtype = raw.foreign_dtypes.get(key, leaf.dtype.name)
        block = _block(leaf, dtype, key)
        table[key] = {
            "dtype": _TAGS[dtype],
            "shape": list(leaf.shape),
            "data_offsets": [at, at + len(block)],
        }
        blocks.append(block)
        at += len(block)
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    # padded so that the data begins at a multiple of 8, as readers that map the file expect
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *blocks])


def _by_alignment(item: tuple[str, Any], raw: RawCheckpoint) -> tuple[int, str]:
    """Widest dtype first, then by name, as the reference writer does, so that every tensor is
    aligned.
    """
    key, leaf = item
    size = dtypes.FOREIGN_ITEMSIZE.get(
        raw.foreign_dtypes.get(key, ""), getattr(leaf, "itemsize", 0)
    )
    return -size, key


def _block(leaf: NDArray[Any], dtype: str, key: str) -> bytes:
    if dtype in dtypes.FOREIGN_ITEMSIZE:
        return dtypes.encode(leaf, dtype)
    if dtype not in _TAGS:
        raise OutputError(f"safetensors has no dtype {dtype} (tensor {shown(key)})")
    return np.ascontiguousarray(leaf, leaf.dtype.newbyteorder("<")).tobytes()


def _parse(stream: BinaryIO, limits: Limits) -> tuple[list[dict[str, Any]], dict[str, str], int]:
    """Checked entries in offset order, metadata, and where the data begins."""
    size = stream.seek(0, 2)
    stream.seek(0)
    length = struct.unpack("<Q", stream.read(8))[0]
    if length > limits.max_header_bytes:
        raise LimitError(
            f"safetensors header declares {length} bytes; at most {limits.max_header_bytes} are "
            "allowed",
            hint="The file is damaged or is not safetensors.",
        )
    if 8 + length > size:
        _truncated(8 + length, size)
    table = _load_json(stream.read(length))
    metadata = _metadata(table.pop(_METADATA, {}))
    if len(table) + len(metadata) > limits.max_nodes:
        raise LimitError(
            f"safetensors header has {len(table) + len(metadata)} entries; at most "
            f"{limits.max_nodes} are read",
            hint="Save the posterior's tensors alone.",
        )
    entries = sorted(
        (_entry(key, value, limits) for key, value in table.items()),
        key=lambda e: (e["begin"], e["end"]),
    )
    _check_layout(entries, size - 8 - length)
    return entries, metadata, 8 + length


def _load_json(text: bytes) -> dict[str, Any]:
    """The header object, refusing duplicate keys."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # json keeps the last of two equal keys; other readers the first: neither may be believed
        found = dict(pairs)
        if len(found) != len(pairs):
            _malformed("a key occurs twice in the header")
        return found

    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        _malformed(f"the header is not valid JSON ({type(error).__name__})")
    if not isinstance(table, dict):
        _malformed("the header is not a JSON object")
    return table


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        _malformed("__metadata__ is not a map from text to text")
    return dict(value)


def _entry(key: str, value: Any, limits: Limits) -> dict[str, Any]:
    """One tensor's declaration: dtype, shape and extent must agree."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        _malformed(f"tensor {shown(key)} lacks dtype, shape or data_offsets")
    shape, offsets = value["shape"], value["data_offsets"]
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        _malformed(f"tensor {shown(key)} has a shape or offsets that are not non-negative integers")
    if not isinstance(value["dtype"], str) or value["dtype"] not in _DTYPES:
        raise UnsupportedError(
            f"tensor {shown(key)} has dtype {shown(value['dtype'])}, which symdiag does not read",
            code="unsupported-dtype",
            hint="Convert it to float32 before saving.",
        )
    dtype = _DTYPES[value["dtype"]]
    extent = limits.check_shape(shape, dtypes.itemsize(dtype), f"tensor {shown(key)}")
    begin, end = offsets
    if end - begin != extent:
        _malformed(f"tensor {shown(key)} needs {extent} bytes, its offsets span {end - begin}")
    return {"key": key, "dtype": dtype, "shape": tuple(shape), "begin": begin, "end": end}


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _check_layout(entries: list[dict[str, Any]], available: int) -> None:
    """Extents must tile the data exactly: no overlap, no hole, nothing after."""
    end = 0
    for entry in entries:
        # the format's own rule; a hole could hide a second file, an overlap tie two tensors unseen
        if entry["begin"] != end:
            rule = "overlaps another" if entry["begin"] < end else "leaves a hole before it"
            _malformed(f"tensor {shown(entry['key'])} {rule}")
        end = entry["end"]
    if end > available:
        _truncated(end, available)
    if end < available:
        _malformed(f"{available - end} bytes follow the last tensor")


def _malformed(message: str) -> NoReturn:
    raise UnreadableError(
        f"malformed safetensors file: {message}",
        code="malformed-header",
        hint="Save it anew with safetensors' own save_file.",
    )


def _truncated(expected: int, got: int) -> NoReturn:
    raise UnreadableError(
        f"truncated safetensors file: expected {expected} bytes, got {got}",
        code="truncated",
        hint="The copy or download is incomplete; fetch the file again.",
    )
