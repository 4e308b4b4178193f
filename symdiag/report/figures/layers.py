"""Straddling entropy of each hidden group against log|G|, the most it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from symdiag.estimate import Estimate
from symdiag.report.figures._parts import Figure, Panel, Style, error_bar, label
from symdiag.report.kinds.analyze import Report
from symdiag.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 24  # rows that stay readable


@dataclass(frozen=True)
class _Row:
    name: str
    log_order: float
    entropy: Estimate
    limit: float | None = None  # where one applies


def _panels(report: Report) -> tuple[Panel, ...]:
    limit = report.settings.max_straddling
    # the limit is one on the total, which one group is by itself
    own = limit if len(report.groups) == 1 else None
    rows = [_Row(g.name, g.log_order, g.straddling_entropy, own) for g in report.groups]
    if not rows:
        return ()
    total = _Row("total", report.total.log_order, report.total.straddling_entropy, limit)
    title = "" if len(rows) <= _MOST else f"the {_MOST} groups with the largest H of {len(rows)}"
    if len(rows) > _MOST:
        kept = sorted(rows, key=lambda row: -row.entropy.value)[:_MOST]
        rows = [row for row in rows if row in kept]
    if len(rows) > 1:
        rows.append(total)
    return (Panel(title, partial(_draw, rows), height=0.8 + 0.33 * len(rows)),)


def _draw(rows: Sequence[_Row], axes: Axes, style: Style) -> None:
    # the first group at the top, as layers are read
    for place, row in zip(reversed(range(len(rows))), rows, strict=True):
        axes.barh(
            place, row.log_order, height=0.6, color=style.line, edgecolor=style.soft, linewidth=0.8
        )
        axes.barh(place, row.entropy.value, height=0.6, color=style.data[0], alpha=0.85)
        axes.errorbar(
            row.entropy.value,
            place,
            xerr=error_bar(row.entropy),
            color=style.ink,
            capsize=3,
            linestyle="none",
        )
        axes.annotate(
            f"{number(row.entropy.value, 2)} of {number(row.log_order, 1)}",
            (row.log_order, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        if row.limit is not None:
            ends = [place - 0.45, place + 0.45]
            axes.plot([row.limit] * 2, ends, color=style.data[1], linestyle="-", linewidth=1.5)
    axes.set_yticks(range(len(rows)), [label(row.name, 24) for row in reversed(rows)])
    axes.set(xlabel="straddling entropy H(g|ω), of at most log|G| (nats)", xlim=(0.0, None))
    # room for the numbers at the ends of the bars
    axes.margins(x=0.22)
    axes.tick_params(axis="y", length=0)


FIGURE = Figure(
    title="Straddling entropy by group",
    reading=(
        "The grey bar is log|G|, fully symmetric; the blue part is H(g|ω) with its interval. The "
        "mark across the total is the limit allowed: one mode is an empty bar."
    ),
    kinds=("analyze",),
    rank=20,
    panels=_panels,
)
