"""A state dict, or any (nested) dict of arrays: NumPy's, torch's, JAX's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from symdiag.formats.interface import Held

priority = -10


def matches(source: Any) -> bool:
    """Whether ``source`` is a mapping."""
    return isinstance(source, Mapping)


def held(source: Any) -> Held:
    """The same dict, its arrays as what torch.save keeps."""
    return Held(plain(source))


def plain(value: Any) -> Any:
    """``value`` with foreign arrays as NumPy's; tensors and everything else as they are."""
    torch = sys.modules.get("torch")
    if isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor)):
        return value
    if isinstance(value, dict) and type(value) is not dict:
        return value if _is_torch(value) else {key: plain(item) for key, item in value.items()}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    # JAX arrays, among others
    return np.asarray(value) if hasattr(value, "__array__") else value


def _is_torch(value: Mapping[Any, Any]) -> bool:
    """Whether a dict of a class of its own is a state dict, whose attributes say more than its items."""
    return hasattr(value, "_metadata")
