"""Separation: how far each unit stands from its nearest twin, against what a Gaussian can hold."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from symdiag.diagnostics.diagnosis import GroupReport, NeuronInfo
from symdiag.report.figures._parts import Figure, Panel, Style, label, log_ticks
from symdiag.report.kinds.analyze import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORCED = ((4.82, "4.82 σ\none weight", 3), (2.93, "2.93 σ\nmany weights", -3))
"""Distances of two modes below which a Gaussian has no optimum at either of them
(docs/reproduction.md, 1), where they differ in one weight and in a hundred; points that the words
stand beside the line."""


def order_distance(neuron: NeuronInfo) -> float | None:
    """How far the two orders of a unit and its twin lie apart, posterior stds.

    Swapping units at distance s moves the weights by √2·s.
    """
    return None if neuron.separation is None else math.sqrt(2.0) * neuron.separation


def _panels(report: Report) -> tuple[Panel, ...]:
    groups = [g for g in report.groups if any(n.separation is not None for n in g.neurons)]
    return (Panel("", partial(_draw, groups)),) if groups else ()


def _draw(groups: list[GroupReport], axes: Axes, style: Style) -> None:
    for place, words, beside in FORCED:
        axes.axvline(place, color=style.soft, linestyle=":", linewidth=1.0)
        axes.annotate(
            words,
            (place, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(beside, -2),
            textcoords="offset points",
            va="top",
            ha="left" if beside > 0 else "right",
            fontsize=7,
            color=style.soft,
        )
    for k, group in enumerate(groups):
        # beyond four groups colours repeat: the table of neurons has every number
        color = style.data[k % len(style.data)]
        for collapsed, marker in ((False, "o"), (True, "x")):
            points = [
                (distance, n.retention)
                for n in group.neurons
                if n.collapsed == collapsed and (distance := order_distance(n)) is not None
            ]
            if points:
                state = "collapsed" if collapsed else "active"
                x, y = zip(*points, strict=True)
                axes.scatter(
                    x,
                    y,
                    s=24,
                    marker=marker,
                    color=color,
                    alpha=0.8,
                    linewidths=1.2,
                    label=f"{label(group.name, 16)}, {state}",
                )
    # two stds are next to nothing and a hundred next to infinity: a logarithmic axis shows both
    axes.set_xscale("log")
    axes.set(
        xlabel="distance to the nearest swapped order (posterior stds)",
        ylabel="probability of keeping its label",
        ylim=(-0.03, 1.03),
    )
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.3), max(high, 10.0))
    log_ticks(axes.xaxis)
    axes.legend(loc="best")


FIGURE = Figure(
    title="Separation",
    reading=(
        "Each mark is a unit. Left of 2.93 σ a Gaussian that covers two orders is forced between "
        "them, in however many weights the units differ; right of 4.82 σ it can hold one of them, "
        "in however few. Low marks lose their labels."
    ),
    kinds=("analyze",),
    rank=30,
    panels=_panels,
)
