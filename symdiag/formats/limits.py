"""How much a file may claim before we stop believing it.

Every limit is checked before anything is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from symdiag.errors import LimitError, shown

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Caps on what a file may contain or unfold to.

    ``free_bytes`` may always be unfolded; beyond that, at most ``max_ratio`` times the bytes that
    are really there.
    """

    max_file_bytes: int = 4 * GIB
    max_header_bytes: int = 100_000_000
    max_pickle_bytes: int = 64 * MIB
    max_pickle_ops: int = 2_000_000
    max_members: int = 100_000
    max_nodes: int = 200_000
    max_depth: int = 64
    max_total_bytes: int = 4 * GIB
    max_dimensions: int = 32
    max_ratio: int = 200
    # small files may well be all zeros, and compress beyond any honest ratio
    free_bytes: int = 64 * MIB

    def check_unfolded(self, declared: int, available: int, what: str) -> None:
        """Refuse ``declared`` bytes unfolding from ``available`` ones when that is out of
        proportion.

        Raises:
            LimitError: more than the total cap, or a ratio only a decompression bomb has.
        """
        # the absolute cap comes first: a file that is really that large passes any ratio
        if declared > self.max_total_bytes:
            raise LimitError(
                f"{what} declares {declared} bytes; at most {self.max_total_bytes} are read",
                hint="If the file is genuine, split it or store only the posterior's own tensors.",
            )
        # deflate shrinks at most 1032 to 1 and honest weights hardly at all; expanded tensors
        # (stride 0)
        # can claim anything from a few bytes
        if declared > self.free_bytes + self.max_ratio * available:
            raise LimitError(
                f"{what} declares {declared} bytes but holds only {available}: looks like a "
                "decompression bomb",
                hint="If the file is genuine, save it uncompressed, without expanded (stride 0) "
                "tensors.",
            )

    def check_shape(self, shape: Sequence[int], itemsize: int, what: str) -> int:
        """Bytes an array of ``shape`` takes, once it is certain that nothing overflows.

        Raises:
            LimitError: too many axes, or more bytes than the total cap (also when another axis is
                0).
        """
        if len(shape) > self.max_dimensions:
            raise LimitError(
                f"{what} has {len(shape)} axes; at most {self.max_dimensions} are read",
                hint="The file is damaged.",
            )
        # an axis of 0 must not hide others that overflow once something multiplies them
        if math.prod(max(n, 1) for n in shape) * itemsize > self.max_total_bytes:
            raise LimitError(
                f"{what} declares shape {shown(tuple(shape))}: more than the "
                f"{self.max_total_bytes} bytes read at most",
                hint="The file is damaged, or made to exhaust memory.",
            )
        # Python's integers do not wrap; the product in int64 could come out small or negative
        return math.prod(shape) * itemsize


DEFAULT = Limits()
