"""Reports as pictures: figures on a page, in SVG, PDF or PNG, or on the axes of whoever asks."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from symdiag.errors import UsageError
from symdiag.estimate import modes
from symdiag.report.figures import (
    Panel,
    Style,
    figure_names,
    figures_of,
    file_label,
    find_figure,
    panels_of,
    style_of,
    subjects,
)
from symdiag.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_FORMATS = ("svg", "pdf", "png")
"""Formats of pictures; each is the extension of its files."""

ON_A_PAGE = 3
"""Figures on the default page of a report, and in its HTML."""

_PANEL = 3.5  # inches wide
_COLUMNS = 2
_DPI = 160


def plot(
    reports: Any,
    figure: str | None = None,
    *,
    axes: Axes | Sequence[Axes] | None = None,
    theme: str = "light",
) -> Figure:
    """Draw one figure of a report, or the page of those that say most.

    Args:
        reports: A report, or several of them for a figure that sets them side by side.
        figure: Its name; None for the default page.
        axes: Draw on these instead, one per panel; a single one gets the first panel.
        theme: ``light`` or ``dark``; axes of your own keep their colours.

    Returns:
        The matplotlib figure, which no window and no ``pyplot`` state knows of.

    Raises:
        UsageError: No such figure or theme, or the report holds nothing that it shows.
    """
    several = list(reports) if isinstance(reports, (list, tuple)) else [reports]
    style = style_of(theme)
    found = _found(several, figure)
    if axes is not None:
        return _on(axes, found[0], style)
    with _theme(style):
        return _page(several, found, style)


def picture(
    reports: Sequence[Any], format: str, figure: str | None = None, *, theme: str = "light"
) -> bytes:
    """The bytes of a file with a figure or the default page; the same reports, the same bytes.

    A page on which there is nothing to draw says so: a file that was asked for is always written.
    """
    style = style_of(theme)
    with _theme(style):
        if figure is None and not names_of(reports):
            return _saved(_words(reports, style), format)
        return _saved(_page(reports, _found(reports, figure), style), format)


def gallery(
    reports: Sequence[Any], format: str = "svg", *, theme: str = "light"
) -> dict[str, bytes]:
    """Every figure as a file by itself: name → bytes.

    Of several reports: what sets them side by side, and each one's own figures after its file's
    name.
    """
    files = {f"{n}.{format}": picture(reports, format, n, theme=theme) for n in names_of(reports)}
    if len(reports) > 1:
        for k, report in enumerate(reports, 1):
            stem = re.sub(r"[^\w.-]+", "-", PurePath(subjects(report)[0]).stem) or "report"
            for name in names_of([report]):
                # numbered, for two folders may hold files of one name
                files[f"{k}-{stem}-{name}.{format}"] = picture([report], format, name, theme=theme)
    return files


def names_of(reports: Sequence[Any]) -> tuple[str, ...]:
    """The figures that have something to show of these reports, those that say most first."""
    return tuple(name for name, _ in figures_of(reports))


def overview(before: Any, after: Any, *, theme: str = "light") -> bytes:
    """One SVG of a posterior before and after retraining: whose labels exchange, and by how much."""
    from matplotlib.figure import Figure

    style = style_of(theme)
    with _theme(style):
        page = Figure(figsize=(7.2, 3.6), dpi=_DPI, layout="constrained")
        for axes, report, words in zip(
            page.subplots(1, 2), (before, after), ("trained on the ELBO", "retrained"), strict=True
        ):
            entropy, total = report.total.straddling_entropy, report.total
            panels_of("confusion", [report])[0].draw(axes, style)
            many = _raised(modes(entropy.value))
            measured = f"H = {number(entropy.value, 1)} of {number(total.log_order, 1)} nats"
            axes.set_title(f"{words}\nabout {many} modes, {measured}")
        return _saved(page, "svg")


def _raised(text: str) -> str:
    """7.7e+11 as a picture shows it: 7.7 × 10¹¹."""
    head, _, power = text.partition("e+")
    raised = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in power.lstrip("0"))
    return f"{head} × 10{raised}" if power else text


def inline_svgs(reports: Sequence[Any], figure: str, prefix: str) -> list[tuple[str, str]]:
    """The panels of a figure as (title, ``<svg>``) for a page of HTML, in the page's own colours.

    Panels by themselves, so that the page has as many side by side as it is wide. Each has a
    ``viewBox`` (points) and no size. Colours become the style sheet's variables ``--fg``,
    ``--soft``, ``--line``, ``--bg``, ``--data0`` and so on; identifiers get ``prefix``, as several
    figures share one page.
    """
    style, panels = style_of("light"), panels_of(figure, reports)
    with _theme(style):
        pages = [_page(reports, [(figure, (panel,))], style, titled=False) for panel in panels]
        if len(panels) > 1:
            for page in pages:
                page.set_figwidth(_PANEL)
        drawn = [_saved(page, "svg").decode("utf-8") for page in pages]
    return [
        (p.title, _inline(svg, f"{prefix}-{k}", style))
        for k, (p, svg) in enumerate(zip(panels, drawn, strict=True))
    ]


def _inline(drawn: str, prefix: str, style: Style) -> str:
    # HTML needs no namespaces; a style in the figure would be the whole page's
    tag, _, inner = drawn[drawn.index("<svg") :].partition(">")
    tag = re.sub(r' (?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", tag)
    inner = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", inner, flags=re.S)
    svg = f"{tag}>{inner}".replace("xlink:href", "href")
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", svg)
    variables = {style.ink: "fg", style.soft: "soft", style.line: "line", style.paper: "bg"}
    variables |= {color: f"data{k}" for k, color in enumerate(style.data)}
    for color, variable in variables.items():
        svg = svg.replace(color, f"var(--{variable})")
    return svg.strip()


def _found(reports: Sequence[Any], figure: str | None) -> list[tuple[str, tuple[Panel, ...]]]:
    if figure is not None:
        panels = panels_of(figure, reports)
        if not panels:
            raise UsageError(
                f"the report has nothing that the figure {figure!r} shows",
                code="no-figure",
                hint=_choices(reports),
            )
        return [(figure, panels)]
    found = list(figures_of(reports)[:ON_A_PAGE])
    if not found:
        raise UsageError(
            "no figure shows anything of this report", code="no-figure", hint=_choices(reports)
        )
    return found


def _choices(reports: Sequence[Any]) -> str:
    names = names_of(reports)
    if names:
        return f"figures of this report: {', '.join(names)}"
    return f"figures there are: {', '.join(figure_names())}; most need an analysis with groups"


def _on(axes: Axes | Sequence[Axes], found: tuple[str, tuple[Panel, ...]], style: Style) -> Figure:
    places: list[Any] = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    name, panels = found
    if len(places) > len(panels):
        raise UsageError(f"{name} has {len(panels)} panels, not {len(places)}", code="bad-option")
    for place, panel in zip(places, panels, strict=False):
        panel.draw(place, style)
        place.set_title(panel.title)
    drawn: Figure = places[0].figure
    return drawn


def _page(
    reports: Sequence[Any],
    found: Sequence[tuple[str, tuple[Panel, ...]]],
    style: Style,
    *,
    titled: bool = True,
) -> Figure:
    """All figures one below the other, the panels of each in rows."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(len(panels) for _, panels in found))
    width = _PANEL * (columns if columns > 1 else 1.35)
    rows = [
        [panels[i : i + _COLUMNS] for i in range(0, len(panels), _COLUMNS)] for _, panels in found
    ]
    tall = [[max(panel.height for panel in row) for row in each] for each in rows]
    # a third of an inch above each figure holds its title
    heights = [sum(each) + (0.33 if titled else 0.0) for each in tall]
    page = Figure(figsize=(width, sum(heights) + 0.3), dpi=_DPI, layout="constrained")
    if titled:
        page.suptitle(_subject(reports), fontsize=10, color=style.soft)
    parts = page.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (name, panels), each in zip(parts, found, tall, strict=True):
        part.set_facecolor("none")
        if titled:
            part.suptitle(find_figure(name).title, fontsize=10, fontweight="bold")
        grid = part.subplots(
            len(each), min(_COLUMNS, len(panels)), squeeze=False, height_ratios=each
        ).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            panel.draw(axes, style)
            axes.set_title(panel.title)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
    return page


def _words(reports: Sequence[Any], style: Style) -> Figure:
    """A page for reports that no figure shows anything of."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(1.35 * _PANEL, 1.2), dpi=_DPI)
    page.suptitle(_subject(reports) if reports else "no report", fontsize=10, color=style.soft)
    page.text(0.5, 0.35, "no figure shows anything of this report", ha="center")
    return page


def _subject(reports: Sequence[Any]) -> str:
    """The files that the figure is about."""
    names = [file_label(path, 36) for report in reports for path in subjects(report)]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _saved(page: Figure, format: str) -> bytes:
    stream = io.BytesIO()
    # no date and no version: the same report gives the same bytes on every day
    nothing = {"svg": ("Date", "Creator"), "pdf": ("CreationDate", "Creator", "Producer")}
    metadata = dict.fromkeys(nothing.get(format, ("Software",)))
    with warnings.catch_warnings():
        # names of files may hold characters that the font lacks: a box stands for them
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        page.savefig(stream, format=format, metadata=metadata)
    return stream.getvalue()


@contextmanager
def _theme(style: Style) -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(style.settings()):
        yield
