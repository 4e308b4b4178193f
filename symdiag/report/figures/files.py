"""Several checkpoints side by side: straddling entropy of each against its log|G|."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from symdiag.report.figures._parts import Figure, Panel, Style, entropy_bars, file_label
from symdiag.report.kinds.analyze import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 40


def _panels(reports: Sequence[Report]) -> tuple[Panel, ...]:
    # the worst, in the call's order
    kept = sorted(reports, key=lambda r: -r.total.straddling_entropy.value)[:_MOST]
    shown = [r for r in reports if any(r is k for k in kept)]
    title = f"the {_MOST} worst of {len(reports)}" if len(reports) > _MOST else ""
    return (Panel(title, partial(_draw, shown), height=0.9 + 0.33 * len(shown)),)


def _draw(reports: Sequence[Report], axes: Axes, style: Style) -> None:
    rows = [
        (
            file_label(r.model.path, 28),
            r.total.log_order,
            r.total.straddling_entropy,
            r.settings.max_straddling,
        )
        for r in reports
    ]
    entropy_bars(rows, axes, style)


FIGURE = Figure(
    title="Straddling entropy by file",
    reading=(
        "One bar per file: grey is log|G|, the blue part H(g|ω) with its interval, the mark across "
        "it the limit allowed."
    ),
    kinds=("analyze",),
    rank=5,
    panels=_panels,
    of_many=True,
)
