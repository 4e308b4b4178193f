"""The weight of the KL: what data and prior pull at each log std, whose ratio is the weight."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from symdiag.report.figures._parts import Figure, Panel, Style, label
from symdiag.report.kinds.analyze import Report
from symdiag.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 16  # tensors


def _panels(report: Report) -> tuple[Panel, ...]:
    found = None if report.elbo is None else report.elbo.kl_weight
    if found is None or not found.points:
        return ()
    known = [part for part in found.layers if part.value is not None]
    panels = [Panel(f"T = {number(found.value, 2)} ({found.status})", partial(_fit, found))]
    if known:
        height = max(2.9, 0.9 + 0.3 * len(known[:_MOST]))
        panels.append(Panel("tensor by tensor", partial(_layers, found, known[:_MOST]), height))
    return tuple(panels)


def _fit(found: Any, axes: Axes, style: Style) -> None:
    pulls, answers, errors = zip(*found.points, strict=True)
    axes.errorbar(
        pulls,
        answers,
        yerr=[e if math.isfinite(e) else 0.0 for e in errors],
        marker=".",
        color=style.data[0],
        alpha=0.6,
        linestyle="none",
        elinewidth=0.8,
        zorder=1,
    )
    # lines through the origin: at stationarity the data pull T times as hard as the prior
    far = max(map(abs, pulls))
    ends = [-far if min(pulls) < 0 else 0.0, far if max(pulls) > 0 else 0.0]
    axes.plot(ends, ends, color=style.soft, linestyle=":", linewidth=1.2, label="T = 1: the ELBO")
    if found.value is not None:
        words = f"T = {number(found.value, 2)} [{number(found.lower, 2)}, {number(found.upper, 2)}]"
        slope = [found.value * x for x in ends]
        axes.plot(ends, slope, color=style.data[1], linestyle="-", linewidth=1.4, label=words)
    axes.set(xlabel="∂KL/∂log σ (nats)", ylabel="∂E[log p]/∂log σ (nats)")
    axes.legend(loc="best")


def _layers(found: Any, parts: list[Any], axes: Axes, style: Style) -> None:
    for place, part in zip(reversed(range(len(parts))), parts, strict=True):
        wide = 2.0 * part.std_error if math.isfinite(part.std_error) else 0.0
        axes.errorbar(
            part.value,
            place,
            xerr=wide,
            marker="o",
            color=style.data[0],
            capsize=3,
            linestyle="none",
        )
    axes.axvline(1.0, color=style.soft, linestyle=":", linewidth=1.2)
    if found.value is not None:
        axes.axvline(found.value, color=style.data[1], linestyle="-", linewidth=1.2)
    axes.set_yticks(range(len(parts)), [label(part.name, 20) for part in reversed(parts)])
    axes.set(xlabel="weight T of the KL", ylim=(-0.6, len(parts) - 0.4))
    axes.locator_params(axis="x", nbins=5)


FIGURE = Figure(
    title="Weight of the KL",
    reading=(
        "Each dot is the log std of one weight: how hard prior (across) and data (up) pull at it. "
        "Where training has come to rest the dots lie on a line through the origin, whose slope is "
        "the weight T of the KL; dotted is T = 1, the ELBO. Bars are two standard errors."
    ),
    kinds=("analyze",),
    rank=35,
    panels=_panels,
)
