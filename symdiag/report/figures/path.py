"""The path between two posteriors, before and after alignment: predictive NLL and its barrier."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from symdiag.report.figures._parts import Figure, Panel, Style, file_label
from symdiag.report.kinds.align import AlignReport
from symdiag.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _panels(report: AlignReport) -> tuple[Panel, ...]:
    data = report.data
    if data is None or not data.positions:
        return ()
    ends = (file_label(report.model.path, 16), file_label(report.reference.path, 16))
    return tuple(
        Panel(title, partial(_draw, data, name, unit, ends))
        for name, title, unit in (
            ("nll", "predictive NLL", "nats per point"),
            ("elbo", "ELBO", "nats" if data.has_prior else "nats, without the KL term"),
        )
        if any(math.isfinite(v) for v in getattr(data.before, name))
    )


def _draw(data: Any, name: str, unit: str, ends: tuple[str, str], axes: Axes, style: Style) -> None:
    for path, color, line, words in (
        (data.before, style.data[1], "--", "as they are"),
        (data.after, style.data[0], "-", "aligned"),
    ):
        barrier = path.barrier if name == "nll" else path.elbo_barrier
        axes.plot(
            data.positions,
            getattr(path, name),
            color=color,
            linestyle=line,
            marker=".",
            label=f"{words} (barrier {number(barrier, 2)})",
        )
    axes.set(ylabel=unit, xlabel="position between the two")
    axes.set_xticks([0.0, 0.5, 1.0], [f"0\n{ends[0]}", "½", f"1\n{ends[1]}"])
    axes.legend(loc="best")


FIGURE = Figure(
    title="Path between the two posteriors",
    reading=(
        "How well the net predicts on the straight way from the one posterior to the other. A hill "
        "that alignment levels was labels; one that stays lies between two functions."
    ),
    kinds=("align",),
    rank=80,
    panels=_panels,
)
