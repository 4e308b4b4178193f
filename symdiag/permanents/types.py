"""Array types of this package; being moved to `symdiag.arrays`."""

from symdiag.arrays import Array, BoolArray, ByteArray, IntArray

__all__ = ["Array", "BoolArray", "ByteArray", "IntArray"]
