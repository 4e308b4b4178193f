"""Straddling entropy of each hidden group against log|G|, the most it can be."""

from __future__ import annotations

from functools import partial

from symdiag.estimate import Estimate
from symdiag.report.figures._parts import Figure, Panel, entropy_bars, label
from symdiag.report.kinds.analyze import Report

_MOST = 24  # rows that stay readable


def _panels(report: Report) -> tuple[Panel, ...]:
    if not report.groups:
        return ()
    groups = sorted(report.groups, key=lambda g: -g.straddling_entropy.value)[:_MOST]
    limit, total = report.settings.max_straddling, report.total
    # the limit is one on the total, which one group is by itself
    own = limit if len(report.groups) == 1 else None
    rows: list[tuple[str, float, Estimate, float | None]] = [
        (label(g.name, 24), g.log_order, g.straddling_entropy, own)
        for g in report.groups
        if any(g is kept for kept in groups)
    ]
    if len(report.groups) > 1:
        rows.append(("total", total.log_order, total.straddling_entropy, limit))
    many = len(report.groups)
    title = f"the {_MOST} groups with the largest H of {many}" if many > _MOST else ""
    return (Panel(title, partial(entropy_bars, rows), height=0.9 + 0.33 * len(rows)),)


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
