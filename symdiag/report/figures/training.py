"""Training curves: L, L^G and H of the retrained run and its controls, step by step."""

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

_LOOKS = {"retrained": (0, "-", 1.6), "control": (1, "--", 1.0), "from scratch": (2, "-.", 1.0)}


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
    labels = {run.name: "from scratch" for run in report.runs if run.kind == "scratch"}
    labels["main"] = "retrained"
    found = {curve.run: values(curve, name, report.log_order) for curve in report.curves}
    # a fresh net begins hundreds of nats below: drawn from there, it would flatten all the others
    low = min(
        (v for run in found if labels.get(run) != "from scratch" for v in found[run]), default=0.0
    )
    labelled: set[str] = set()
    # controls first, so that the retrained run lies on top
    for curve in sorted(report.curves, key=lambda curve: curve.run == "main"):
        label = labels.get(curve.run, "control")
        colour, line, width = _LOOKS[label]
        pairs = list(zip(curve.steps, found[curve.run], strict=False))
        shown = [p for p in pairs if p[1] >= low] if label == "from scratch" else pairs
        axes.plot(
            [step for step, _ in shown],
            [value for _, value in shown],
            color=style.data[colour],
            linestyle=line,
            linewidth=width,
            alpha=0.5 if label in labelled else 1.0,
            # further controls of a kind show how much of a difference is training noise
            label=None if label in labelled else label,
        )
        labelled.add(label)
    axes.set(xlabel="step", ylabel="nats")
    axes.margins(x=0.02)
    axes.legend(loc="best")


FIGURE = Figure(
    title="Training curves",
    reading=(
        "Solid: the symmetrised objective; dashed: control runs of the plain ELBO, continued; "
        "dash-dotted: from scratch, where they have come up to the others; dotted: the "
        "checkpoint, as evaluated. The curves come from a few draws and serve to see the course; "
        "the report's intervals come from a careful evaluation."
    ),
    kinds=("retrain",),
    rank=60,
    panels=_panels,
)
