"""Label confusion: whose place each unit takes when a weight draw is relabelled."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from symdiag.diagnostics.diagnosis import GroupReport
from symdiag.report.figures._parts import Figure, Panel, Style, label, left_out, straddling_first
from symdiag.report.kinds.analyze import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 24  # units whose numbers fit along an axis


def order(group: GroupReport) -> list[int]:
    """Units by cluster, the largest cluster first, then those that exchange with nobody."""
    clustered = [unit for cluster in group.clusters for unit in cluster.neurons]
    units = dict.fromkeys(u for u in clustered if u < group.width)
    # reports may come from a file: a unit named twice must not be drawn twice
    return [*units, *(n.index for n in group.neurons if n.index not in units)]


def _panels(report: Report) -> tuple[Panel, ...]:
    groups = [g for g in report.groups if g.neurons]
    shown = straddling_first(groups)
    panels = []
    for group in shown:
        more = left_out(shown, groups) if group is shown[-1] else ""
        square = group.confusion is not None and len(group.confusion) == len(order(group))
        draw = partial(_matrix if square else _retention, group)
        panels.append(Panel(f"{label(group.name, 24)}: {group.width} units{more}", draw))
    return tuple(panels)


def _matrix(group: GroupReport, axes: Axes, style: Style) -> None:
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgb

    units = order(group)
    matrix = np.array(group.confusion)[np.ix_(units, units)]  # (n, n), both axes by cluster
    full = to_rgb(style.data[0])
    # from transparent to opaque: 0 is the paper's own colour, whatever that is
    shades = LinearSegmentedColormap.from_list("share", [(*full, 0.0), (*full, 1.0)])
    # the square root: a cluster of 20 units shares each place in portions of 0.05
    image = axes.imshow(matrix, cmap=shades, norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, ticks=[0.0, 0.05, 0.25, 0.5, 1.0], fraction=0.046)
    bar.set_label("probability")
    bar.outline.set_visible(False)
    # see-through cells must not overlap at their edges
    cells: Any = bar.solids
    cells.set(edgecolor="none", antialiased=False, rasterized=True)
    _outlines(group, axes, style)
    axes.set(xlabel="unit", ylabel="place it takes")
    if len(units) <= _NAMED:
        places, names = range(len(units)), [str(unit) for unit in units]
        axes.set_xticks(places, names, rotation=90 if len(units) > 12 else 0)
        axes.set_yticks(places, names)
    else:
        axes.set(xlabel="units, by cluster", xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(True)


def _outlines(group: GroupReport, axes: Axes, style: Style) -> None:
    """A frame around each cluster, dashed where it is collapsed."""
    from matplotlib.patches import Rectangle

    start = 0
    for cluster in group.clusters:
        size = len(cluster.neurons)
        frame = Rectangle(
            (start - 0.5, start - 0.5),
            size,
            size,
            fill=False,
            edgecolor=style.data[1],
            linewidth=1.2,
            linestyle="--" if cluster.collapsed else "-",
        )
        axes.add_patch(frame)
        start += size


def _retention(group: GroupReport, axes: Axes, style: Style) -> None:
    """Retention alone, for groups whose matrix the report leaves out."""
    kept = sorted(n.retention for n in group.neurons)
    axes.fill_between(range(len(kept)), kept, step="mid", color=style.data[0], alpha=0.6, lw=0)
    axes.set(
        xlabel="units, by retention",
        ylabel="probability of keeping its label",
        xlim=(-0.5, len(kept) - 0.5),
        ylim=(0.0, 1.0),
    )


FIGURE = Figure(
    title="Label confusion",
    reading=(
        "Each column is a unit: the shade says how often it stands in each place once weight draws "
        "are relabelled. A sharp diagonal is one mode; a filled square is a cluster of units that "
        "exchange their labels (dashed: collapsed units)."
    ),
    kinds=("analyze",),
    rank=10,
    panels=_panels,
)
