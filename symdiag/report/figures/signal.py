"""Units in signal-to-noise: what comes in against what goes out, collapsed ones marked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from symdiag.diagnostics.diagnosis import GroupReport
from symdiag.report.figures._parts import (
    Figure,
    Panel,
    Style,
    label,
    left_out,
    log_ticks,
    straddling_first,
)
from symdiag.report.kinds.analyze import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST = 1e-3  # a weight of mean 0 has no place on a logarithmic axis
_NAMED = 12  # units whose numbers fit between the marks


def _panels(report: Report) -> tuple[Panel, ...]:
    groups = [g for g in report.groups if any(map(_place, g.neurons))]
    shown = straddling_first(groups)
    panels = []
    for group in shown:
        more = left_out(shown, groups) if group is shown[-1] else ""
        panels.append(Panel(f"{label(group.name, 24)}{more}", partial(_draw, group)))
    return tuple(panels)


def _place(neuron: object) -> tuple[float, float] | None:
    """Signal in and out of a unit; None where a side has no random weight."""
    ends = (getattr(neuron, "signal_in", None), getattr(neuron, "signal_out", None))
    if ends[0] is None or ends[1] is None:
        return None
    return max(ends[0], _LEAST), max(ends[1], _LEAST)


def _draw(group: GroupReport, axes: Axes, style: Style) -> None:
    for limit in (axes.axvline, axes.axhline):
        limit(1.0, color=style.soft, linestyle=":", linewidth=1.0)
    for collapsed, marker, color, words in (
        (False, "o", style.data[0], "active"),
        (True, "x", style.data[1], "collapsed"),
    ):
        units = [n for n in group.neurons if n.collapsed == collapsed and _place(n)]
        places = [place for n in units if (place := _place(n))]
        if not places:
            continue
        x, y = zip(*places, strict=True)
        axes.scatter(x, y, s=26, marker=marker, color=color, alpha=0.85, label=words)
        if len(group.neurons) <= _NAMED:
            for unit, place in zip(units, places, strict=True):
                axes.annotate(
                    str(unit.index), place, (4, 3), textcoords="offset points", fontsize=7
                )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="signal in: rms μ/σ of weights into the unit",
        ylabel="signal out: rms μ/σ of weights from it",
    )
    axes.margins(0.12)
    for axis in (axes.xaxis, axes.yaxis):
        log_ticks(axis)
    axes.legend(loc="best")


FIGURE = Figure(
    title="Signal to noise of each unit",
    reading=(
        "Each mark is a unit; below 1 (dotted) its weights are lost in their own stds. Units at "
        "the lower left carry nothing; crosses are collapsed, so that the net does without them."
    ),
    kinds=("analyze",),
    rank=40,
    panels=_panels,
)
