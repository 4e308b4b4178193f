"""Functions that cut an axis into pieces. Equal pieces run over one set of units: unit i of each belongs together."""

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
