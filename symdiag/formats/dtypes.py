"""Dtypes numpy lacks: bfloat16 and float8, decoded to float32 and encoded back to the same bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOREIGN_ITEMSIZE = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
NATIVE = frozenset(
    {
        "float64",
        "float32",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
    }
)


def itemsize(name: str) -> int:
    """Bytes per element of a supported dtype name."""
    return FOREIGN_ITEMSIZE[name] if name in FOREIGN_ITEMSIZE else np.dtype(name).itemsize


def decode(data: bytes | memoryview, name: str) -> NDArray[np.float32]:
    """Little-endian foreign values as float32, exactly."""
    if name == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return _float8_table(name)[np.frombuffer(data, np.uint8)]


def encode(values: NDArray[np.floating], name: str) -> bytes:
    """Float values rounded to nearest even in the foreign dtype; exact for values that came from
    `decode`.
    """
    flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
    if name == "bfloat16":
        return _bfloat16_bits(flat).astype("<u2").tobytes()
    return _float8_bits(flat, name).tobytes()


def _bfloat16_bits(flat: NDArray[np.float32]) -> NDArray[np.uint32]:
    bits = flat.view(np.uint32).astype(np.uint64)
    # half a unit in the last place, less one where the kept bit is even: ties go to even
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # a NaN must stay one: rounding could clear its last fraction bit
    return np.where(np.isnan(flat), (bits >> 16) | 0x40, rounded).astype(np.uint32)


def _float8_table(name: str) -> NDArray[np.float32]:
    """The value of each of the 256 bit patterns (OCP 8-bit floating point, rev. 1.0)."""
    mantissa_bits, bias = (3, 7) if name == "float8_e4m3fn" else (2, 15)
    code = np.arange(256)
    exponent = (code & 0x7F) >> mantissa_bits
    fraction = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    value = np.where(
        exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias)
    )
    if name == "float8_e4m3fn":
        value = np.where((code & 0x7F) == 0x7F, np.nan, value)
    else:
        value = np.where(exponent == 31, np.where(fraction == 0, np.inf, np.nan), value)
    return np.where(code & 0x80, -value, value).astype(np.float32)


def _float8_bits(flat: NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    """Nearest table entry, ties to the even code, by bisection over the non-negative half."""
    table = _float8_table(name)[:128].astype(np.float64)
    finite = int(np.isfinite(table).sum())
    size = np.abs(flat.astype(np.float64))
    above = np.clip(np.searchsorted(table[:finite], size), 1, finite - 1)
    low, high = size - table[above - 1], table[above] - size
    code = np.where((low < high) | ((low == high) & ((above - 1) % 2 == 0)), above - 1, above)
    beyond = (
        0x7E if name == "float8_e4m3fn" else 0x7C
    )  # the largest value (it has no infinity); infinity
    # IEEE rule: from half a step beyond the largest value on, rounding leaves the finite range
    overflow = table[finite - 1] + (table[finite - 1] - table[finite - 2]) / 2
    code = np.where(size >= overflow, beyond, code)
    code = np.where(np.isnan(size), 0x7F, code)
    return np.where(np.signbit(flat), code | 0x80, code).astype(np.uint8)
