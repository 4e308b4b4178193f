"""Elementwise work on large matrices a few rows at a time: temporaries stay in the cache, memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from symdiag.arrays import Array

_CELLS = 1 << 16


def row_chunks(matrix: Array) -> Iterator[slice]:
    """Slices over the rows of a matrix, about 65 000 cells each."""
    rows, columns = matrix.shape
    step = max(1, _CELLS // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def by_rows(function: Callable[[Array], Array], matrix: Array) -> Array:
    """``function`` applied to chunks of rows and put together again; it must work row by row."""
    result = np.empty_like(matrix)
    for rows in row_chunks(matrix):
        result[rows] = function(matrix[rows])
    return result
