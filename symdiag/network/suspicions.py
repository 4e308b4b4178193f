"""Hints in names and widths that a file holds more than the chain its shapes allow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from symdiag.network.architecture import Layer

_RESIDUAL_NAMES = re.compile(
    r"(^|[._])(res\w*|\w*block\w*|shortcut|downsample|skip\w*|layer\d+\.\d+)([._]|\d|$)", re.IGNORECASE
)


def residual_suspicion(layers: Sequence[Layer]) -> str:
    """An assumption to report when skip connections are plausible: they would tie groups that a chain leaves free.

    Returns:
        One line, or "" when neither names nor widths hint at skip connections.
    """
    units = [layer for layer in layers if not layer.is_norm]
    widths = [layer.out_features for layer in units[:-1]]
    named = [layer.name for layer in units if _RESIDUAL_NAMES.search(layer.name)]
    if len(widths) < 2 or len(set(widths)) == len(widths):
        return ""
    if not named and not _returns(widths):
        return ""
    why = f"names such as '{named[0]}'" if named else f"widths {', '.join(map(str, widths))}"
    return (
        f"read as a plain chain although {why} suggest skip connections, which a file cannot show and which would tie "
        "groups of equal width: confirm with --model or --spec"
    )


def _returns(widths: Sequence[int]) -> bool:
    """Whether a width comes back after another (a bottleneck block), or stays for three layers or more."""
    bottleneck = any(a == c != b for a, b, c in zip(widths, widths[1:], widths[2:], strict=False))
    stack = any(a == b == c for a, b, c in zip(widths, widths[1:], widths[2:], strict=False))
    return bottleneck or stack
