"""Two posteriors compared: straddling entropy of each group, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from symdiag.report.figures._parts import Figure, Panel, Style, file_label, label
from symdiag.report.kinds.compare import Comparison, Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 24


def _panels(report: Comparison) -> tuple[Panel, ...]:
    rows = list(report.straddling_entropy)
    if len(rows) == 2:
        # one group and the total, which is the same
        rows = rows[-1:]
    if not rows:
        return ()
    names = (file_label(report.before.path, 20), file_label(report.after.path, 20))
    shown = rows[-_MOST:]
    draw = partial(_draw, shown, names)
    return (Panel("", draw, height=1.1 + 0.35 * len(shown)),)


def _draw(rows: Sequence[Difference], names: tuple[str, str], axes: Axes, style: Style) -> None:
    for place, row in zip(reversed(range(len(rows))), rows, strict=True):
        if math.isfinite(row.before) and math.isfinite(row.after):
            axes.plot(
                [row.before, row.after], [place] * 2, color=style.line, linestyle="-", linewidth=2
            )
        axes.plot(
            row.before,
            place,
            marker="o",
            linestyle="none",
            color=style.data[1],
            markerfacecolor=style.paper,
            label=None if place else names[0],
        )
        axes.errorbar(
            row.after,
            place,
            # what a difference has to exceed, drawn around the second value
            xerr=row.margin if math.isfinite(row.margin) else None,
            marker="o",
            linestyle="none",
            color=style.data[0],
            capsize=3,
            label=None if place else names[1],
        )
    axes.set_yticks(range(len(rows)), [label(row.name, 24) for row in reversed(rows)])
    axes.set(xlabel="straddling entropy H(g|ω) (nats)", ylim=(-0.6, len(rows) - 0.4))
    axes.margins(x=0.12)
    axes.legend(loc="best")


FIGURE = Figure(
    title="Straddling entropy of the two",
    reading=(
        "Open: the first posterior; filled: the second. The bar around the second is the margin "
        "that a difference has to exceed: an open mark inside it is no change."
    ),
    kinds=("compare",),
    rank=95,
    panels=_panels,
)
