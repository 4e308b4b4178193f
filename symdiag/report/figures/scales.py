"""Posterior stds of each tensor, smallest to largest, as the file holds them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from symdiag.report.figures._parts import Figure, Panel, Style, label, log_ticks
from symdiag.report.kinds.inspect import Inspection, WeightTensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 40


def _panels(report: Inspection) -> tuple[Panel, ...]:
    random = [t for t in report.tensors if t.scale_min is not None and t.scale_max]
    if not random:
        return ()
    shown = random[:_MOST]
    more = f"the first {_MOST} of {len(random)}" if len(random) > _MOST else ""
    return (Panel(more, partial(_draw, shown), height=0.9 + 0.25 * len(shown)),)


def _draw(tensors: Sequence[WeightTensor], axes: Axes, style: Style) -> None:
    ends = [(t.scale_min or 0.0, t.scale_max or 0.0) for t in tensors]
    least = min([low for low, _ in ends if low > 0] or [high for _, high in ends])
    for place, (low, high) in zip(reversed(range(len(tensors))), ends, strict=True):
        # deterministic entries within a random tensor: the line begins at the axis
        x = [max(low, least / 2), high]
        axes.plot(x, [place] * 2, color=style.data[0], linestyle="-", linewidth=2, marker="|")
    axes.set_yticks(range(len(tensors)), [label(t.name, 28) for t in reversed(tensors)])
    axes.set(xscale="log", xlabel="posterior std", ylim=(-0.6, len(tensors) - 0.4))
    axes.margins(x=0.1)
    log_ticks(axes.xaxis)


FIGURE = Figure(
    title="Posterior stds by tensor",
    reading=(
        "The line goes from the smallest to the largest std of a tensor. Stds near the prior's own "
        "mean weights that the data did not reach; a scale read wrongly shows here first."
    ),
    kinds=("inspect",),
    rank=100,
    panels=_panels,
)
