"""R̂ before and after relabelling: how much of what looked like bad mixing was labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from symdiag.report.figures._parts import Figure, Panel, Style, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMIT = 1.01
"""R̂ up to which chains count as mixed (Vehtari et al. 2021)."""

_MOST = 24  # rows that stay readable


@dataclass(frozen=True)
class _Row:
    name: str
    before: float
    after: float


def _panels(report: Any) -> tuple[Panel, ...]:
    rows = _of_runs(report) if report.kind == "universe" else _of_draws(report)
    if not rows:
        return ()
    title = f"the {_MOST} worst tensors of {len(rows)}" if len(rows) > _MOST else ""
    kept = sorted(rows, key=lambda row: -row.before)[:_MOST]
    shown = [row for row in rows if row in kept]
    return (Panel(title, partial(_draw, shown), height=1.0 + 0.3 * len(shown)),)


def _of_draws(report: Any) -> list[_Row]:
    before, after = report.rhat_before, report.rhat_after
    if before is None or after is None:
        return []
    return [
        _Row("worst weight", before.worst, after.worst),
        _Row("median weight", before.median, after.median),
    ]


def _of_runs(report: Any) -> list[_Row]:
    # null in the report: weights that vary between runs only
    def known(value: float | None) -> float:
        return math.inf if value is None else value

    before, after = report.before, report.after
    tensors = [name for name in before.per_tensor if name in after.per_tensor]
    return [
        _Row("worst weight", known(before.worst), known(after.worst)),
        *(_Row(n, known(before.per_tensor[n]), known(after.per_tensor[n])) for n in tensors),
    ]


def _draw(rows: Sequence[_Row], axes: Axes, style: Style) -> None:
    finite = [v for row in rows for v in (row.before, row.after) if math.isfinite(v)]
    # what is infinite stands at the right end, as a triangle that points on
    end = 1.15 * max([*finite, 1.1])
    for place, row in zip(reversed(range(len(rows))), rows, strict=True):
        x = [min(row.before, end), min(row.after, end)]
        axes.plot(x, [place] * 2, color=style.line, linestyle="-", linewidth=2, zorder=1)
        for value, at, color, filled in (
            (row.before, x[0], style.data[1], False),
            (row.after, x[1], style.data[0], True),
        ):
            axes.plot(
                at,
                place,
                marker="o" if math.isfinite(value) else ">",
                color=color,
                markerfacecolor=color if filled else style.paper,
                linestyle="none",
                # one entry of the legend for all rows
                label=None if place else ("as they came", "relabelled")[filled],
            )
    axes.axvline(LIMIT, color=style.soft, linestyle=":", linewidth=1.0, label=f"{LIMIT}")
    axes.set_yticks(range(len(rows)), [label(row.name, 24) for row in reversed(rows)])
    axes.set(xlabel="R̂ (1: chains, or runs, agree)", ylim=(-0.6, len(rows) - 0.4))
    axes.margins(x=0.1)
    axes.legend(loc="best")


FIGURE = Figure(
    title="R̂ before and after relabelling",
    reading=(
        "Open marks: the draws as they came; filled: after relabelling. What moves to the dotted "
        "line at 1.01 was labels; what stays to the right of it is not."
    ),
    kinds=("samples", "universe"),
    rank=70,
    panels=_panels,
)
