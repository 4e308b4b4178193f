"""What a reshape does to labelled axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.units import Label, Labels

Block = tuple[list[int], list[int]]


def reshape_labels(
    table: AxisTable, labels: Labels, before: Sequence[int], after: Sequence[int]
) -> Labels:
    """Labels after reading a tensor of shape ``before`` as ``after`` in C order.

    Axes merged with fixed ones become ``(outer, units, inner)``; an axis split into several splits its units into
    parts, which merge again where the axes do; what fits neither is pinned.
    """
    result: list[Label | None] = [None] * len(after)
    for sources, targets in _blocks(before, after):
        merged = _merge(table, [(labels[i], before[i]) for i in sources])
        if merged is not None:
            pieces = _split(table, merged, [after[target] for target in targets])
            for target, piece in zip(targets, pieces, strict=True):
                result[target] = piece
    return tuple(result)


def chunk_label(table: AxisTable, label: Label | None, size: int, width: int) -> Label | None:
    """The label of one of the chunks of ``width`` entries into which an axis of ``size`` is cut."""
    if label is None or width == size:
        return label
    if table.is_sum(label) and size % width == 0:
        first, *rest = (
            table.part_of(label, start, start + width) for start in range(0, size, width)
        )
        for other in rest:
            first = table.unify(first, other, "pieces of its units are used alike")
        return first
    if size % width:
        table.pin(label, "its units are cut unevenly")
        return None
    which, within = _split(table, label, [size // width, width])
    table.pin(which, "some of its units are picked out")
    return within


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
    """The label of several axes read as one; unit axes side by side make a product of units, others are pinned."""
    axes = [(label, size) for label, size in axes if size > 1 or label is not None]
    where = [k for k, (label, _) in enumerate(axes) if label is not None]
    labels = [label for label, _ in axes if label is not None]
    if not labels:
        return None
    adjacent = where == list(range(where[0], where[-1] + 1))
    if not adjacent or any(a.inner > 1 or b.outer > 1 for a, b in itertools.pairwise(labels)):
        table.pin(labels, "two unit axes are flattened into one")
        return None
    outer = math.prod(size for _, size in axes[: where[0]])
    inner = math.prod(size for _, size in axes[where[-1] + 1 :])
    units = labels[0] if len(labels) == 1 else table.product(labels)
    return Label(units.variable, labels[0].outer * outer, labels[-1].inner * inner)


def _split(table: AxisTable, merged: Label, targets: Sequence[int]) -> list[Label | None]:
    """``merged`` over axes of the given sizes: each gets the part of the units that it runs over, if any."""
    low, high = merged.outer, merged.outer * table.size(merged)
    if low == high:
        return _single(table, merged, targets)
    ends = [math.prod(targets[:count]) for count in range(len(targets) + 1)]
    ordered = sorted({low, high, *ends})
    bounds = [end for end in ordered if low <= end <= high]
    sizes = [b // a for a, b in itertools.pairwise(bounds)]
    nested = all(b % a == 0 for a, b in itertools.pairwise(ordered))
    parts = ([merged] if len(sizes) == 1 else table.split(merged, sizes)) if nested else None
    if parts is None:
        table.pin(merged, "its units are cut by a reshape")
        return [None] * len(targets)
    result: list[Label | None] = []
    for start, end in itertools.pairwise(ends):
        first, last = max(start, low), min(end, high)
        part = parts[bounds.index(first)] if first < last else None
        result.append(part and Label(part.variable, first // start, end // last))
    return result


def _single(table: AxisTable, merged: Label, targets: Sequence[int]) -> list[Label | None]:
    """A lone unit stays on a lone axis; among several axes, none of them is its own."""
    if len(targets) > 1:
        table.pin(merged, "its units are cut by a reshape")
        return [None] * len(targets)
    return [merged]
