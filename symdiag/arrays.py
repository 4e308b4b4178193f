"""The array types of the whole package: float64 wherever densities or their differences are
computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
ByteArray: TypeAlias = NDArray[np.uint8]
SeedArray: TypeAlias = NDArray[np.uint64]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""Key or tensor name → array of any dtype, as a file holds them."""
