"""One traced call as the rules see it, and what reshaping, cutting and concatenating do to labelled
axes.

Equal pieces of an axis run over one set of units: unit i of each belongs together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.units import SINGLE, Label, Labels


@dataclass(frozen=True)
class FunctionCall:
    """One function call. ``tensors`` are (labels, shape) of its tensor arguments;
    ``args``/``kwargs`` as traced, with every tensor replaced by None.
    """

    name: str
    tensors: Sequence[tuple[Labels, tuple[int, ...]]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output_shape: Any

    @property
    def labels(self) -> Labels:
        """Labels of the first tensor argument."""
        return self.tensors[0][0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor argument."""
        return self.tensors[0][1]

    def option(self, position: int, name: str, default: Any = None) -> Any:
        """An argument given by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


FunctionRule = Callable[[AxisTable, FunctionCall], Any]


def unknown(table: AxisTable, call: FunctionCall) -> Any:
    """No rule: pin all units involved."""
    for labels, _ in call.tensors:
        table.pin(labels, f"they pass through '{call.name}', which symdiag cannot follow")
    return fixed(call.output_shape)


def fixed(shape: Any) -> Any:
    """Labels of an output without units, nested like the output itself."""
    if shape is None or all(isinstance(size, int) for size in shape):
        return () if shape is None else (None,) * len(shape)
    return tuple(fixed(part) for part in shape)


AxisRun = tuple[list[int], list[int]]


def reshape_labels(
    table: AxisTable, labels: Labels, before: Sequence[int], after: Sequence[int]
) -> Labels:
    """Labels after reading a tensor of shape ``before`` as ``after`` in C order.

    Axes merged with fixed ones become ``(outer, units, inner)``; an axis split into several splits
    its units into parts, which merge again where the axes do; what fits neither is pinned.
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


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[AxisRun]:
    """Smallest runs of source and target axes with equal products."""
    blocks: list[AxisRun] = []
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
    """The label of several axes read as one; unit axes side by side make a product of units, others
    are pinned.
    """
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
    """``merged`` over axes of the given sizes: each gets the part of the units that it runs over,
    if any.
    """
    low, high = merged.outer, merged.outer * table.size(merged)
    if low == high:
        return _single(table, merged, targets)
    ends = [math.prod(targets[:count]) for count in range(len(targets) + 1)]
    ordered = sorted({low, high, *ends})
    bounds = [end for end in ordered if low <= end <= high]
    sizes = [b // a for a, b in itertools.pairwise(bounds)]
    # a target axis that straddles the units' ends would mix positions with units
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
    """A lone unit stays on a lone axis; among several axes, none of them is its own, nor among none."""
    if len(targets) != 1:
        table.pin(merged, "its units are cut by a reshape" if targets else SINGLE)
        return [None] * len(targets)
    return [merged]


def concatenate(table: AxisTable, call: FunctionCall) -> Any:
    """cat: an axis whose pieces keep their units; the other axes are tied."""
    return _end_to_end(table, call, call.option(1, "dim", call.kwargs.get("axis", 0)))


def hstack(table: AxisTable, call: FunctionCall) -> Any:
    """cat along the second axis, or the only one."""
    return _end_to_end(table, call, min(1, len(call.output_shape) - 1))


def _end_to_end(table: AxisTable, call: FunctionCall, dim: int) -> Any:
    # torch lets legacy empty tensors of shape (0,) pass through cat at any rank
    tensors = [(labels, shape) for labels, shape in call.tensors if shape != (0,)]
    axis = dim % len(call.output_shape)
    ranks = {len(shape) for _, shape in tensors}
    if (
        ranks != {len(call.output_shape)}
        or sum(s[axis] for _, s in tensors) != call.output_shape[axis]
    ):
        return unknown(table, call)
    result = list(tensors[0][0])
    for labels, _ in tensors[1:]:
        for position, label in enumerate(labels):
            if position != axis:
                result[position] = table.unify(
                    result[position], label, "concatenated along another axis"
                )
    result[axis] = table.concatenation([(labels[axis], shape[axis]) for labels, shape in tensors])
    return tuple(result)


def narrow(table: AxisTable, call: FunctionCall) -> Labels:
    """A stretch of an axis: pieces of a concatenation keep their units."""
    axis, start, length = (
        call.option(1, "dim") % len(call.labels),
        call.option(2, "start"),
        call.option(3, "length"),
    )
    label = call.labels[axis]
    kept: Label | None = label
    if label is not None and length != call.shape[axis]:
        start %= call.shape[axis]
        kept = table.part_of(label, start, start + length)
    return (*call.labels[:axis], kept, *call.labels[axis + 1 :])


def chunk(table: AxisTable, call: FunctionCall) -> Any:
    """Pieces of equal size, in order."""
    axis = call.option(2, "dim", 0) % len(call.labels)
    label = call.labels[axis]
    widths = [shape[axis] for shape in call.output_shape]
    if label is not None and table.is_sum(label):
        ends = itertools.accumulate(widths)
        parts = [
            table.part_of(label, end - width, end) for end, width in zip(ends, widths, strict=True)
        ]
        return tuple((*call.labels[:axis], part, *call.labels[axis + 1 :]) for part in parts)
    if len(set(widths)) > 1 and label is not None:
        return unknown(table, call)
    cut = chunk_label(table, label, call.shape[axis], widths[0])
    labels = (*call.labels[:axis], cut, *call.labels[axis + 1 :])
    return (labels,) * len(call.output_shape)


def split(table: AxisTable, call: FunctionCall) -> Any:
    """As chunk; sizes come second, the axis third, for both."""
    return chunk(table, call)


def unbind(table: AxisTable, call: FunctionCall) -> Any:
    """Slices along an axis, which loses its units."""
    axis = call.option(1, "dim", 0) % len(call.labels)
    table.pin(call.labels[axis], "some of its units are picked out")
    return ((*call.labels[:axis], *call.labels[axis + 1 :]),) * len(call.output_shape)


def glu(table: AxisTable, call: FunctionCall) -> Labels:
    """F.glu: the first half times the sigmoid of the second."""
    return halved(table, call.labels, call.shape, call.option(1, "dim", -1))


def halved(table: AxisTable, labels: Labels, shape: tuple[int, ...], dim: int) -> Labels:
    """Labels of a gated linear unit's output: both halves tied, flips ruled out by the gate."""
    axis = dim % len(labels)
    cut = chunk_label(table, labels[axis], shape[axis], shape[axis] // 2)
    table.unsign([*labels, cut], "a gate is not odd")
    return (*labels[:axis], cut, *labels[axis + 1 :])


def along(table: AxisTable, call: FunctionCall) -> Labels:
    """flip, roll, cumsum: entries move or mix along some axes, which cannot be unit axes; the
    others pass.
    """
    dims = call.option(
        2 if call.name == "roll" else 1, "dims" if call.name in {"flip", "roll"} else "dim"
    )
    if call.name == "flip" and isinstance(dims, int):
        dims = [part for part in call.args[1:] if isinstance(part, int)]
    rank = len(call.labels)
    axes = (
        range(rank)
        if dims is None
        else [a % rank for a in ([dims] if isinstance(dims, int) else dims)]
    )
    table.pin([call.labels[axis] for axis in axes], f"{call.name} runs over units")
    return tuple(None if axis in axes else label for axis, label in enumerate(call.labels))


def select(table: AxisTable, call: FunctionCall) -> Labels:
    """One entry of an axis, which loses its units."""
    axis = call.option(1, "dim") % len(call.labels)
    table.pin(call.labels[axis], "some of its units are picked out")
    return (*call.labels[:axis], *call.labels[axis + 1 :])


def stack(table: AxisTable, call: FunctionCall) -> Labels:
    """A new axis in front of others, which are tied."""
    labels = list(call.labels)
    for other, _ in call.tensors[1:]:
        labels = [
            table.unify(a, b, "stacked with units that stay fixed")
            for a, b in zip(labels, other, strict=True)
        ]
    axis = call.option(1, "dim", 0) % (len(labels) + 1)
    return (*labels[:axis], None, *labels[axis:])


def repeat(table: AxisTable, call: FunctionCall) -> Labels:
    """Copies laid end to end: axes that keep their size pass."""
    missing = len(call.output_shape) - len(call.labels)
    grown = [size != new for size, new in zip(call.shape, call.output_shape[missing:], strict=True)]
    table.pin(
        [label for label, more in zip(call.labels, grown, strict=True) if more],
        "its units are repeated",
    )
    kept = (None if more else label for label, more in zip(call.labels, grown, strict=True))
    return (*(None for _ in range(missing)), *kept)


def item(table: AxisTable, call: FunctionCall) -> Any:
    """Indexing: whole axes pass, cut ones are pinned."""
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if any(not isinstance(part, (int, slice, type(None), type(...))) for part in index):
        return unknown(table, call)
    # None adds an axis and ... fills: neither consumes one of its own
    named = sum(part is not None and part is not ... for part in index)
    result: list[Label | None] = []
    axis = 0
    for part in (*index, *(() if ... in index else (...,))):
        if part is ...:
            rest = len(call.labels) - named
            result += call.labels[axis : axis + rest]
            axis += rest
        elif part is None:
            result.append(None)
        else:
            kept = _kept(table, call.labels[axis], part, call.shape[axis])
            result += [] if isinstance(part, int) else [kept]
            axis += 1
    return tuple(result)


def _kept(table: AxisTable, label: Label | None, part: int | slice, size: int) -> Label | None:
    """The label of an axis after an index: whole, one of several equal chunks, or pinned."""
    places = range(size)[part] if isinstance(part, slice) else range(0)
    if label is not None and table.is_sum(label) and places and places.step == 1:
        return table.part_of(label, places.start, places.stop)
    if places and places.step == 1 and size % len(places) == places.start % len(places) == 0:
        return chunk_label(table, label, size, len(places))
    table.pin(label, "some of its units are picked out")
    return None
