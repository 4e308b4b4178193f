"""Label switching in draws: how often each unit is out of place, and H before and after."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from symdiag.report.figures._parts import (
    MAX_PANELS,
    Figure,
    Panel,
    Style,
    error_bar,
    label,
    left_out,
)
from symdiag.report.kinds.samples import GroupSwitchingReport, SamplesReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 24


def _panels(report: SamplesReport) -> tuple[Panel, ...]:
    groups = [g for g in report.groups if g.units]
    most = sorted(groups, key=lambda g: -g.off)[:MAX_PANELS]
    shown = [g for g in groups if any(g is m for m in most)]
    if not shown:
        return ()
    panels = [
        Panel(f"{label(g.name, 24)}: off in {g.off:.0%} of draws", partial(_units, g), height=2.4)
        for g in shown
    ]
    more = left_out(shown, groups)
    height = 1.2 + 0.35 * len(shown)
    return (*panels, Panel(f"straddling entropy{more}", partial(_entropy, shown), height=height))


def _units(group: GroupSwitchingReport, axes: Axes, style: Style) -> None:
    # sorted, for a unit's number says little where labels switch
    units = sorted(group.units, key=lambda u: -(u.moved + u.flipped))
    places = range(len(units))
    axes.bar(places, [u.moved for u in units], color=style.data[0], label="another unit's place")
    if any(u.flipped for u in units):
        axes.bar(
            places,
            [u.flipped for u in units],
            bottom=[u.moved for u in units],
            color=style.data[1],
            hatch="//",
            edgecolor=style.paper,
            label="sign changed",
        )
    names = [str(u.index) for u in units] if len(units) <= _NAMED else []
    axes.set_xticks(list(places) if names else [], names)
    axes.set(xlabel="unit, worst first", ylabel="share of draws", ylim=(0.0, 1.0))
    axes.legend(loc="upper right")


def _entropy(groups: Sequence[GroupSwitchingReport], axes: Axes, style: Style) -> None:
    for place, group in zip(reversed(range(len(groups))), groups, strict=True):
        axes.barh(
            place,
            group.log_order,
            height=0.6,
            color=style.line,
            edgecolor=style.soft,
            linewidth=0.8,
        )
        for estimate, at, marker, color, words in (
            (group.straddling_before, place + 0.12, "o", style.data[1], "as they came"),
            (group.straddling_after, place - 0.12, "s", style.data[0], "relabelled"),
        ):
            axes.errorbar(
                estimate.value,
                at,
                xerr=error_bar(estimate),
                marker=marker,
                color=color,
                capsize=3,
                linestyle="none",
                label=None if place else words,
            )
    axes.set_yticks(range(len(groups)), [label(g.name, 24) for g in reversed(groups)])
    # room above the bars for the legend, and around a single one
    axes.set(
        xlabel="H of the draws' Gaussian, of at most log|G| (nats)", ylim=(-0.8, len(groups) + 0.2)
    )
    axes.legend(loc="upper right", ncols=2)


FIGURE = Figure(
    title="Label switching",
    reading=(
        "The bars say in what share of the draws a unit stands elsewhere than in the majority's "
        "labelling. Last: straddling entropy of the draws' Gaussian, of at most the grey log|G|."
    ),
    kinds=("samples",),
    rank=65,
    panels=_panels,
)
