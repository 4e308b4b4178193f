"""Functions that cut an axis into pieces, put pieces together or move entries along an axis.

Equal pieces of an axis run over one set of units: unit i of each belongs together.
"""

from __future__ import annotations

from typing import Any

from symdiag.symmetry.axes import AxisTable, Labels
from symdiag.symmetry.reshaping import chunk_label
from symdiag.symmetry.step import Step, unknown


def chunk(table: AxisTable, step: Step) -> Any:
    """Pieces of equal size, in order."""
    axis = step.option(2, "dim", 0) % len(step.labels)
    widths = {shape[axis] for shape in step.output_shape}
    if len(widths) > 1 and step.labels[axis] is not None:
        return unknown(table, step)
    cut = chunk_label(table, step.labels[axis], step.shape[axis], widths.pop())
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
    dims = step.option(2 if step.name == "roll" else 1, "dims" if step.name in {"flip", "roll"} else "dim")
    if step.name == "flip" and isinstance(dims, int):
        dims = [part for part in step.args[1:] if isinstance(part, int)]
    rank = len(step.labels)
    axes = range(rank) if dims is None else [a % rank for a in ([dims] if isinstance(dims, int) else dims)]
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
        labels = [table.unify(a, b, "stacked with units that stay fixed") for a, b in zip(labels, other, strict=True)]
    axis = step.option(1, "dim", 0) % (len(labels) + 1)
    return (*labels[:axis], None, *labels[axis:])


def repeat(table: AxisTable, step: Step) -> Labels:
    """Copies laid end to end: axes that keep their size pass."""
    missing = len(step.output_shape) - len(step.labels)
    grown = [size != new for size, new in zip(step.shape, step.output_shape[missing:], strict=True)]
    table.pin([label for label, more in zip(step.labels, grown, strict=True) if more], "its units are repeated")
    kept = (None if more else label for label, more in zip(step.labels, grown, strict=True))
    return (*(None for _ in range(missing)), *kept)
