"""Hints in names and widths that a file holds more than the chain its shapes allow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from symdiag.network.architecture import Layer
from symdiag.network.naming import numbered

_RESIDUAL_NAMES = re.compile(
    r"(^|[._])(res\w*|\w*block\w*|shortcut|downsample|skip\w*|layer\d+\.\d+)([._]|\d|$)",
    re.IGNORECASE,
)


def residual_suspicion(layers: Sequence[Layer]) -> str:
    """An assumption to report when skip connections are possible: they would tie groups that a chain leaves free.

    Returns:
        One line, or "" when no two widths agree, those of inputs and outputs included.
    """
    units = [layer for layer in layers if not layer.is_norm]
    hidden = [layer.out_features for layer in units[:-1]]
    named = [layer.name for layer in units if _RESIDUAL_NAMES.search(layer.name)]
    if not hidden or not _may_skip([units[0].in_features, *hidden, units[-1].out_features]):
        return ""
    repeated = len(set(hidden)) < len(hidden)
    if repeated and named:
        why = f"although names such as '{named[0]}' suggest skip connections"
    elif _returns(hidden):
        why = f"although widths {', '.join(map(str, hidden))} suggest skip connections"
    else:
        why = "although equal widths leave room for skip connections"
    return (
        f"read as a plain chain {why}, which a file cannot show and which would tie groups of equal width: "
        "confirm with --model or --spec"
    )


def _may_skip(widths: Sequence[int]) -> bool:
    """Whether something could be added to something else: two widths agree, other than inputs and outputs."""
    inputs, *hidden, outputs = widths
    return len(set(hidden)) < len(hidden) or inputs in hidden or outputs in hidden


def _returns(widths: Sequence[int]) -> bool:
    """Whether a width comes back after another (a bottleneck block), or stays for three layers or more."""
    bottleneck = any(a == c != b for a, b, c in zip(widths, widths[1:], widths[2:], strict=False))
    stack = any(a == b == c for a, b, c in zip(widths, widths[1:], widths[2:], strict=False))
    return bottleneck or stack


def order_suspicion(layers: Sequence[Layer]) -> str:
    """An assumption to report when layers of one shape could change places and their names do not number them."""
    known: dict[tuple[object, ...], Layer] = {}
    for layer in layers:
        if layer.is_norm:
            continue
        signature = (layer.kind, layer.shape, layer.in_out, layer.inner, layer.bias is None)
        before = known.get(signature)
        known[signature] = layer
        if before is not None and not numbered(before.name, layer.name):
            return f"{before.name} and {layer.name} have one shape: used in the order of the file, as far as it shows"
    return ""
