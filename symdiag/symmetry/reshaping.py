"""What a reshape does to labelled axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from symdiag.symmetry.axes import AxisTable, Label, Labels

Block = tuple[list[int], list[int]]


def reshape_labels(table: AxisTable, labels: Labels, before: Sequence[int], after: Sequence[int]) -> Labels:
    """Labels after reading a tensor of shape ``before`` as ``after`` in C order.

    Axes merged with fixed ones become ``(outer, units, inner)``; an axis split into blocks keeps the blocks as units;
    what fits neither is pinned.
    """
    result: list[Label | None] = [None] * len(after)
    for sources, targets in _blocks(before, after):
        merged = _merge(table, [(labels[i], before[i]) for i in sources])
        if merged is not None:
            _split(table, merged, targets, after, result)
    return tuple(result)


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[Block]:
    """Smallest runs of source and target axes with equal products."""
    blocks: list[Block] = []
    i = j = 0
    while i < len(before) or j < len(after):
        sources, targets = ([i] if i < len(before) else []), ([j] if j < len(after) else [])
        i, j = i + len(sources), j + len(targets)
        while _product(before, sources) != _product(after, targets):
            if _product(before, sources) < _product(after, targets):
                sources.append(i)
                i += 1
            else:
                targets.append(j)
                j += 1
        blocks.append((sources, targets))
    return blocks


def _product(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _merge(table: AxisTable, axes: Sequence[tuple[Label | None, int]]) -> Label | None:
    """The label of several axes read as one, or None; two labelled axes cannot be merged and are pinned."""
    labelled = [k for k, (label, _) in enumerate(axes) if label is not None]
    if len(labelled) > 1:
        table.pin([label for label, _ in axes], "two unit axes are flattened into one")
        return None
    if not labelled:
        return None
    k = labelled[0]
    label = axes[k][0]
    assert label is not None
    outer = math.prod(size for _, size in axes[:k])
    inner = math.prod(size for _, size in axes[k + 1 :])
    return Label(label.variable, label.outer * outer, label.inner * inner)


def _split(
    table: AxisTable, merged: Label, targets: Sequence[int], after: Sequence[int], result: list[Label | None]
) -> None:
    """Put ``merged`` on one of the target axes: whole if one can hold it, else refined to the blocks of the first."""
    candidates: list[tuple[int, Label]] = []
    for position, target in enumerate(targets):
        prefix, suffix = _product(after, targets[:position]), _product(after, targets[position + 1 :])
        if merged.outer % prefix == 0 and after[target] > 1:
            candidates.append((target, Label(merged.variable, merged.outer // prefix, merged.inner / suffix)))
    grain = table.variable(merged).grain
    whole = [(target, label) for target, label in candidates if (label.inner * grain).denominator == 1]
    if not candidates:
        table.pin(merged, "its units are cut by a reshape")
        return
    target, label = (whole or candidates)[0]
    if not whole:
        table.refine(merged, label.inner.denominator)
    result[target] = label
