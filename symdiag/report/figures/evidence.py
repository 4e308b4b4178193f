"""Evidence of each stage of retraining or pruning, or of several files: L, L^G and H."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from symdiag.estimate import Estimate
from symdiag.report.figures._parts import Figure, Panel, Style, error_bar, file_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TERMS = (
    ("elbo", "ELBO L", "nats"),
    ("symmetrized", "symmetrised ELBO Lᴳ", "nats"),
    ("straddling_entropy", "straddling entropy H", "nats"),
)


@dataclass(frozen=True)
class _Bar:
    """A stage's value, with its interval where there is one."""

    stage: str
    value: float
    ends: tuple[list[float], list[float]] | None = None


def _panels(report: Any) -> tuple[Panel, ...]:
    stages = _stages(report)
    panels = []
    for name, title, unit in _TERMS:
        bars = [
            _Bar(file_label(stage.name, 20), found.value, error_bar(found))
            for stage in stages
            if isinstance(found := getattr(stage, name), Estimate) and math.isfinite(found.value)
        ]
        if bars:
            panels.append(Panel(title, partial(_draw, bars, unit), height=2.4))
    tested = [(s.name, nll) for s in stages if (nll := _nll(s.test)) is not None]
    scores = [_Bar(file_label(name, 20), nll) for name, nll in tested if math.isfinite(nll)]
    if scores:
        panels.append(Panel("test NLL", partial(_draw, scores, "nats per point"), height=2.4))
    return tuple(panels)


def _stages(report: Any) -> Sequence[Any]:
    if report.kind == "prune":
        return tuple(report.stages)
    if report.kind == "evidence":
        return tuple(report.models)
    found = (report.before, report.control, report.retrained)
    return [stage for stage in found if stage is not None]


def _nll(test: Any) -> float | None:
    """NLL per test point: analyses hold scores by name, the stages of a run as fields."""
    found = test.get("nll") if isinstance(test, Mapping) else getattr(test, "nll", None)
    return None if found is None else float(found)


def _draw(bars: Sequence[_Bar], unit: str, axes: Axes, style: Style) -> None:
    markers = ("o", "s", "D")
    for place, bar in enumerate(bars):
        axes.errorbar(
            place,
            bar.value,
            yerr=bar.ends,
            marker=markers[place % len(markers)],
            color=style.data[place % len(style.data)],
            markersize=6,
            capsize=4,
            linestyle="none",
        )
        axes.annotate(
            f"{bar.value:.4g}", (place, bar.value), (7, 0), textcoords="offset points", va="center"
        )
    axes.set_xticks(range(len(bars)), [bar.stage for bar in bars])
    axes.set(ylabel=unit, xlabel="posterior", xlim=(-0.5, len(bars) - 0.2))
    axes.margins(y=0.25)


FIGURE = Figure(
    title="Evidence side by side",
    reading=(
        "Higher is better in L and Lᴳ, lower in H and test NLL. Lᴳ is what to compare: L alone "
        "pays for straddling. Bars are the intervals of the report."
    ),
    kinds=("evidence", "prune", "retrain"),
    rank=50,
    panels=_panels,
)
