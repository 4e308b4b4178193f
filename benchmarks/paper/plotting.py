"""The look of the figures; matplotlib is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STYLE = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "symdiag",
    "svg.fonttype": "none",
}
COLOURS = {
    "elbo": "#777777",
    "infonce": "#d08770",
    "symmetrized": "#2a6f97",
    "bound": "#a23b72",
    "exact": "#1b1b1b",
}


@contextmanager
def figure(
    folder: Path, name: str, columns: int = 1, rows: int = 1, size: float = 3.1
) -> Iterator[Any]:
    """A figure with a (rows, columns) array of axes, saved as PNG and SVG on exit; the same bytes every time."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise SystemExit("drawing needs matplotlib: pip install 'symdiag[plots]'") from error
    with pyplot.rc_context(STYLE):
        canvas, axes = pyplot.subplots(
            rows,
            columns,
            figsize=(1.25 * size * columns, size * rows),
            squeeze=False,
            layout="constrained",
        )
        yield axes
        canvas.savefig(folder / f"{name}.png", metadata={"Software": None})
        canvas.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(canvas)
