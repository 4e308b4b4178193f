"""What figures are made of: panels, colours that everybody can tell apart, labels that are safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from symdiag.errors import UsageError
from symdiag.report.text import number, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from symdiag.estimate import Estimate


@dataclass(frozen=True)
class Style:
    """Colours of a theme.

    ``data``: colours of Okabe and Ito (2008) that colour-blind readers tell apart, those of them
    that stand out from the paper; in grey print marks differ by shape and dashes as well. ``ink``,
    ``soft`` and ``line`` are text, secondary text and rules on ``paper``.
    """

    ink: str
    soft: str
    line: str
    paper: str
    data: tuple[str, ...]

    def settings(self) -> Any:
        """Matplotlib's settings of the theme; whoever draws on axes of their own has theirs."""
        ink = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
        return {
            **dict.fromkeys(ink, self.ink),
            "figure.facecolor": self.paper,
            "axes.facecolor": "none",
            "savefig.facecolor": "auto",
            "legend.edgecolor": self.line,
            "legend.facecolor": self.paper,
            "axes.prop_cycle": _cycle(self.data),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8,
            "font.size": 9,
            "font.family": ["DejaVu Sans", "sans-serif"],
            "text.usetex": False,
            # text stays text: it can be searched, read aloud and restyled
            "svg.fonttype": "none",
            # identifiers that would else be random
            "svg.hashsalt": "symdiag",
            "pdf.fonttype": 42,
        }


_THEMES = {
    "light": Style(
        "#1b1f24", "#5b6470", "#d5d9e0", "#ffffff", ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
    ),
    "dark": Style(
        "#e6e9ee", "#9aa4b2", "#343a44", "#14171c", ("#56b4e9", "#e69f00", "#009e73", "#cc79a7")
    ),
}
MAX_PANELS = 4
"""Panels of one figure, beyond which it shows the groups with the largest straddling entropy."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes: ``draw(axes, style)`` puts everything on them but the title.

    ``height`` in inches is what it needs on a page.
    """

    title: str
    draw: Callable[[Axes, Style], None]
    height: float = 2.9


@dataclass(frozen=True)
class Figure:
    """What a figure shows and how.

    Attributes:
        title: Its name in words.
        reading: How to read it, in a sentence or two.
        kinds: Kinds of reports that it shows.
        rank: Its place among the figures of a report; the first ones make the default page.
        panels: A report (with ``of_many`` a sequence of them) → its panels; none where the report
            has nothing of that.
        of_many: It sets several reports side by side.
    """

    title: str
    reading: str
    kinds: tuple[str, ...]
    rank: int
    panels: Callable[[Any], tuple[Panel, ...]]
    of_many: bool = False


def theme_names() -> tuple[str, ...]:
    """Names of the themes."""
    return tuple(_THEMES)


def style_of(theme: str) -> Style:
    """The colours of a theme.

    Raises:
        UsageError: There is no such theme.
    """
    if theme not in _THEMES:
        raise UsageError(f"unknown theme {theme!r}", hint=f"one of {', '.join(_THEMES)}")
    return _THEMES[theme]


def label(text: str, most: int = 40) -> str:
    """Text of a file or a report for a figure: shown as it is, shortened in the middle."""
    shown = printable(text)
    if len(shown) > most:
        half = (most - 1) // 2
        shown = f"{shown[: most - 1 - half]}…{shown[-half:]}"
    # matplotlib would set what stands between two dollar signs as a formula
    return shown.replace("$", r"\$")


def file_label(path: str, most: int = 40) -> str:
    """The name of a file without its folders."""
    return label(PurePath(path).name or path, most)


def subjects(report: Any) -> tuple[str, ...]:
    """The files that a report of any kind is about."""
    if hasattr(report, "input"):
        return tuple(report.input.paths)
    if report.kind == "universe":
        return tuple(run.model.path for run in report.runs)
    if hasattr(report, "models"):
        return tuple(model.name for model in report.models)
    if report.kind == "align":
        return report.model.path, report.reference.path
    if hasattr(report, "model"):
        return (report.model.path,)
    return (report.path,) if hasattr(report, "path") else (report.before.path, report.after.path)


def error_bar(estimate: Estimate) -> tuple[list[float], list[float]]:
    """Lengths of the interval below and above a finite value, as ``errorbar`` takes them."""
    # an unbounded end is drawn as none: there is no place at infinity
    ends = (estimate.value - estimate.lower, estimate.upper - estimate.value)
    below, above = (end if 0.0 <= end < float("inf") else 0.0 for end in ends)
    return [below], [above]


def straddling_first(groups: Sequence[Any]) -> list[Any]:
    """The groups that a figure of few panels shows: those with the largest straddling entropy."""
    worst = sorted(groups, key=lambda g: -g.straddling_entropy.value)[:MAX_PANELS]
    # in the network's own order, whichever they are
    return [group for group in groups if any(group is w for w in worst)]


def left_out(shown: Sequence[Any], groups: Sequence[Any]) -> str:
    """Words for the groups without a panel, for the last panel's title."""
    more = len(groups) - len(shown)
    return f" (+ {more} more in the report)" if more else ""


def entropy_bars(
    rows: Sequence[tuple[str, float, Estimate, float | None]], axes: Axes, style: Style
) -> None:
    """A row of (name, log|G|, H, limit or None) each: H as part of log|G|, the first row on top."""
    for place, (_, log_order, entropy, limit) in zip(reversed(range(len(rows))), rows, strict=True):
        axes.barh(
            place, log_order, height=0.6, color=style.line, edgecolor=style.soft, linewidth=0.8
        )
        axes.barh(place, entropy.value, height=0.6, color=style.data[0], alpha=0.85)
        axes.errorbar(
            entropy.value,
            place,
            xerr=error_bar(entropy),
            color=style.ink,
            capsize=3,
            linestyle="none",
        )
        axes.annotate(
            f"{number(entropy.value, 2)} of {number(log_order, 1)}",
            (log_order, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        if limit is not None:
            ends = [place - 0.45, place + 0.45]
            axes.plot([limit] * 2, ends, color=style.data[1], linestyle="-", linewidth=1.5)
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    # room for the numbers at the ends of the bars
    most = max([row[1] for row in rows] + [1e-9])
    axes.set(xlabel="straddling entropy H(g|ω), of at most log|G| (nats)", xlim=(0.0, 1.3 * most))
    axes.tick_params(axis="y", length=0)


def log_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 in plain figures on a logarithmic axis over few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = low > 0 and high / low < 300.0
    axis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _cycle(colors: Sequence[str]) -> Any:
    from cycler import cycler

    # dashes as well: lines must differ in grey print
    return cycler(color=list(colors), linestyle=["-", "--", "-.", ":"])
