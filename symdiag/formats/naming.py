"""Tensor names as the rest of symdiag expects them: ``fc1.weight``, ``fc1.bias``."""

from __future__ import annotations

import re

_WORDS = {
    "W": "weight",
    "w": "weight",
    "kernel": "weight",
    "weights": "weight",
    "b": "bias",
    "B": "bias",
}
_NUMBERED = re.compile(r"^(weights?|kernel|bias|[wWbB])_?(\d+)$")
_JOINED = re.compile(r"^(.+)(?<!proj)_(weights?|kernel|bias|[wWbB])$")


def tidy(base: str) -> str:
    """``fc1.W`` → ``fc1.weight``, ``fc1_b`` → ``fc1.bias``, ``w2`` → ``2.weight``; anything else is kept."""
    layer, dot, leaf = base.replace("$$$", ".").rpartition(".")
    if match := _NUMBERED.match(leaf):
        leaf = f"{match[2]}.{_WORDS.get(match[1], match[1])}"
    elif match := _JOINED.match(leaf):
        leaf = f"{match[1]}.{_WORDS.get(match[2], match[2])}"
    else:
        leaf = _WORDS.get(leaf, leaf)
    return f"{layer}{dot}{leaf}"


def is_weight_like(base: str) -> bool:
    """Whether a name is one people give to weights and biases."""
    return tidy(base).rpartition(".")[2] in ("weight", "bias")
