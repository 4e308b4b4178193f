"""Functions that cut an axis into pieces, put pieces together or move entries along an axis.

Equal pieces of an axis run over one set of units: unit i of each belongs together.
"""

from __future__ import annotations

import itertools
from typing import Any

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.reshaping import chunk_label
from symdiag.symmetry.step import Step, unknown
from symdiag.symmetry.units import Label, Labels


def concatenate(table: AxisTable, step: Step) -> Any:
    """cat: an axis whose pieces keep their units; the other axes are tied."""
    return _end_to_end(table, step, step.option(1, "dim", step.kwargs.get("axis", 0)))


def hstack(table: AxisTable, step: Step) -> Any:
    """cat along the second axis, or the only one."""
    return _end_to_end(table, step, min(1, len(step.output_shape) - 1))


def _end_to_end(table: AxisTable, step: Step, dim: int) -> Any:
    tensors = [(labels, shape) for labels, shape in step.tensors if shape != (0,)]
    axis = dim % len(step.output_shape)
    ranks = {len(shape) for _, shape in tensors}
    if (
        ranks != {len(step.output_shape)}
        or sum(s[axis] for _, s in tensors) != step.output_shape[axis]
    ):
        return unknown(table, step)
    result = list(tensors[0][0])
    for labels, _ in tensors[1:]:
        for position, label in enumerate(labels):
            if position != axis:
                result[position] = table.unify(
                    result[position], label, "concatenated along another axis"
                )
    result[axis] = table.concatenation([(labels[axis], shape[axis]) for labels, shape in tensors])
    return tuple(result)


def narrow(table: AxisTable, step: Step) -> Labels:
    """A stretch of an axis: pieces of a concatenation keep their units."""
    axis, start, length = (
        step.option(1, "dim") % len(step.labels),
        step.option(2, "start"),
        step.option(3, "length"),
    )
    label = step.labels[axis]
    kept: Label | None = label
    if label is not None and length != step.shape[axis]:
        start %= step.shape[axis]
        kept = table.part_of(label, start, start + length)
    return (*step.labels[:axis], kept, *step.labels[axis + 1 :])


def chunk(table: AxisTable, step: Step) -> Any:
    """Pieces of equal size, in order."""
    axis = step.option(2, "dim", 0) % len(step.labels)
    label = step.labels[axis]
    widths = [shape[axis] for shape in step.output_shape]
    if label is not None and table.is_sum(label):
        ends = itertools.accumulate(widths)
        parts = [
            table.part_of(label, end - width, end) for end, width in zip(ends, widths, strict=True)
        ]
        return tuple((*step.labels[:axis], part, *step.labels[axis + 1 :]) for part in parts)
    if len(set(widths)) > 1 and label is not None:
        return unknown(table, step)
    cut = chunk_label(table, label, step.shape[axis], widths[0])
    labels = (*step.labels[:axis], cut, *step.labels[axis + 1 :])
    return (labels,) * len(step.output_shape)


def split(table: AxisTable, step: Step) -> Any:
    """As chunk; sizes come second, the axis third, for both."""
    return chunk(table, step)


def unbind(table: AxisTable, step: Step) -> Any:
    """Slices along an axis, which loses its units."""
    axis = step.option(1, "dim", 0) % len(step.labels)
    table.pin(step.labels[axis], "some of its units are picked out")
    return ((*step.labels[:axis], *step.labels[axis + 1 :]),) * len(step.output_shape)


def glu(table: AxisTable, step: Step) -> Labels:
    """F.glu: the first half times the sigmoid of the second."""
    return halved(table, step.labels, step.shape, step.option(1, "dim", -1))


def halved(table: AxisTable, labels: Labels, shape: tuple[int, ...], dim: int) -> Labels:
    """Labels of a gated linear unit's output: both halves tied, flips ruled out by the gate."""
    axis = dim % len(labels)
    cut = chunk_label(table, labels[axis], shape[axis], shape[axis] // 2)
    table.unsign([*labels, cut], "a gate is not odd")
    return (*labels[:axis], cut, *labels[axis + 1 :])


def along(table: AxisTable, step: Step) -> Labels:
    """flip, roll, cumsum: entries move or mix along some axes, which cannot be unit axes; the others pass."""
    dims = step.option(
        2 if step.name == "roll" else 1, "dims" if step.name in {"flip", "roll"} else "dim"
    )
    if step.name == "flip" and isinstance(dims, int):
        dims = [part for part in step.args[1:] if isinstance(part, int)]
    rank = len(step.labels)
    axes = (
        range(rank)
        if dims is None
        else [a % rank for a in ([dims] if isinstance(dims, int) else dims)]
    )
    table.pin([step.labels[axis] for axis in axes], f"{step.name} runs over units")
    return tuple(None if axis in axes else label for axis, label in enumerate(step.labels))


def select(table: AxisTable, step: Step) -> Labels:
    """One entry of an axis, which loses its units."""
    axis = step.option(1, "dim") % len(step.labels)
    table.pin(step.labels[axis], "some of its units are picked out")
    return (*step.labels[:axis], *step.labels[axis + 1 :])


def stack(table: AxisTable, step: Step) -> Labels:
    """A new axis in front of others, which are tied."""
    labels = list(step.labels)
    for other, _ in step.tensors[1:]:
        labels = [
            table.unify(a, b, "stacked with units that stay fixed")
            for a, b in zip(labels, other, strict=True)
        ]
    axis = step.option(1, "dim", 0) % (len(labels) + 1)
    return (*labels[:axis], None, *labels[axis:])


def repeat(table: AxisTable, step: Step) -> Labels:
    """Copies laid end to end: axes that keep their size pass."""
    missing = len(step.output_shape) - len(step.labels)
    grown = [size != new for size, new in zip(step.shape, step.output_shape[missing:], strict=True)]
    table.pin(
        [label for label, more in zip(step.labels, grown, strict=True) if more],
        "its units are repeated",
    )
    kept = (None if more else label for label, more in zip(step.labels, grown, strict=True))
    return (*(None for _ in range(missing)), *kept)
