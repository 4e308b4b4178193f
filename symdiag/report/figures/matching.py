"""Matching: which unit of the model stands at which unit of the reference, and how surely."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from symdiag.report.figures._parts import MAX_PANELS, Figure, Panel, Style, label, left_out
from symdiag.report.kinds.align import AlignReport, GroupAlignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _panels(report: AlignReport) -> tuple[Panel, ...]:
    groups = [g for g in report.groups if g.units]
    # those that the alignment moves most
    most = sorted(groups, key=lambda g: -g.moved)[:MAX_PANELS]
    shown = [g for g in groups if any(g is m for m in most)]
    panels = []
    for group in shown:
        more = left_out(shown, groups) if group is shown[-1] else ""
        title = f"{label(group.name, 24)}: {group.moved} of {group.width} moved{more}"
        panels.append(Panel(title, partial(_draw, group)))
    return tuple(panels)


def _draw(group: GroupAlignment, axes: Axes, style: Style) -> None:
    axes.plot([-0.5, group.width - 0.5], [-0.5, group.width - 0.5], color=style.line, linestyle="-")
    size = max(6.0, min(40.0, 2400.0 / max(1, group.width)))
    for sign, marker, color in ((1, "o", style.data[0]), (-1, "s", style.data[1])):
        for ambiguous in (False, True):
            units = [u for u in group.units if u.sign == sign and u.ambiguous == ambiguous]
            if not units:
                continue
            words = ("kept sign" if sign > 0 else "flipped") if group.signed else "match"
            axes.scatter(
                [u.index for u in units],
                [u.source for u in units],
                s=size,
                marker=marker,
                edgecolors=color,
                facecolors="none" if ambiguous else color,
                linewidths=1.2,
                label=words + (", ambiguous" if ambiguous else ""),
            )
    axes.set(xlabel="unit of the reference", ylabel="unit of the model matched to it")
    axes.set_aspect("equal", adjustable="box")
    ends = (-0.5, group.width - 0.5)
    axes.set(xlim=ends, ylim=ends[::-1])
    step = max(1, math.ceil(group.width / 8))
    axes.set_xticks(range(0, group.width, step))
    axes.set_yticks(range(0, group.width, step))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


FIGURE = Figure(
    title="Matching of units",
    reading=(
        "Each mark is a pair. On the diagonal the unit kept its number; off it, it was relabelled. "
        "Open marks could as well be matched otherwise; squares changed their sign."
    ),
    kinds=("align",),
    rank=90,
    panels=_panels,
)
