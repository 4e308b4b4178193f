"""Training curves: L, L^G and H of the retrained run and its control, from the checkpoint on."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from symdiag.report.figures._parts import Figure, Panel, Style
from symdiag.report.kinds.retrain import RetrainReport, TrainingCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TERMS = (
    ("elbo", "ELBO L"),
    ("symmetrized", "symmetrised ELBO Lᴳ"),
    ("straddling_entropy", "straddling entropy H"),
)


def values(curve: TrainingCurve, name: str, log_order: float) -> list[float]:
    """One term of a run at each look, nats; L^G = L + log|G| − H."""
    if name == "symmetrized":
        pairs = zip(curve.elbo, curve.straddling_entropy, strict=False)
        return [elbo + log_order - entropy for elbo, entropy in pairs]
    return list(getattr(curve, name))


def _panels(report: RetrainReport) -> tuple[Panel, ...]:
    if not any(curve.steps for curve in report.curves):
        return ()
    return tuple(Panel(title, partial(_draw, report, name), height=2.5) for name, title in _TERMS)


def _draw(report: RetrainReport, name: str, axes: Axes, style: Style) -> None:
    before = getattr(report.before, name).value
    if math.isfinite(before):
        axes.axhline(before, color=style.soft, linestyle=":", linewidth=1.0, label="before")
    # controls first, so that the retrained run lies on top
    for curve in sorted(report.curves, key=lambda curve: curve.run == "main"):
        main = curve.run == "main"
        steps = [
            s for s, v in zip(curve.steps, values(curve, name, report.log_order), strict=False)
        ]
        first = curve.run in ("main", "control-1")
        axes.plot(
            steps,
            values(curve, name, report.log_order)[: len(steps)],
            color=style.data[0 if main else 1],
            linestyle="-" if main else "--",
            linewidth=1.6 if main else 1.0,
            alpha=1.0 if first else 0.5,
            # further controls show how much of a difference is training noise
            label=("retrained" if main else "control") if first else None,
        )
    axes.set(xlabel="step", ylabel="nats")
    axes.margins(x=0.02)
    axes.legend(loc="best")


FIGURE = Figure(
    title="Training curves",
    reading=(
        "Solid: the symmetrised objective; dashed: control runs of the plain ELBO; dotted: the "
        "checkpoint, as evaluated. The curves come from a few draws and serve to see the course; "
        "the report's intervals come from a careful evaluation."
    ),
    kinds=("retrain",),
    rank=60,
    panels=_panels,
)
