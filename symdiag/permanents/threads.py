"""One call per matrix of a batch, on several threads where that pays; results do not depend on how
many.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from symdiag.arrays import Array

T = TypeVar("T")

_WIDE = 14  # rows from which the compiled loops, which release the interpreter lock, dominate


def per_matrix(
    function: Callable[..., T],
    matrices: Array,
    generator: np.random.Generator,
    *others: Iterable[object],
) -> list[T]:
    """``function(matrix, generator, *other)`` for each of (B, n, n); every matrix gets a generator
    of its own.
    """
    children = _children(generator, len(matrices))
    workers = min(len(matrices), _cores())
    if workers < 2 or matrices.shape[-1] < _WIDE:
        return list(map(function, matrices, children, *others))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, matrices, children, *others))


@contextlib.contextmanager
def beside(function: Callable[[], T], *, wanted: bool) -> Iterator[Callable[[], T]]:
    """Start ``function`` on a thread where ``wanted`` and a core is there for it; yields what waits
    for its result.

    For work without randomness only: when it runs must not matter.
    """
    if not wanted or _cores() < 2:
        yield function
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function).result


def _children(generator: np.random.Generator, count: int) -> list[np.random.Generator]:
    """Independent generators; one that was given a key instead of a seed sequence (Philox) seeds
    them by its draws.
    """
    try:
        return list(generator.spawn(count))
    except TypeError:
        return [
            np.random.default_rng(seed) for seed in generator.integers(0, 1 << 63, size=(count, 2))
        ]


def _cores() -> int:
    """Cores this process may use; ``OMP_NUM_THREADS`` is honoured as everywhere else in numerical
    Python.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    available = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(available, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else available
