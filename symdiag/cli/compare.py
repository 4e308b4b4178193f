"""``symdiag compare``: has straddling got worse from one posterior to the next?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import exit_code
from symdiag.cli._options import OutputOptions, VerdictOptions, command
from symdiag.cli._output import emit, progress_bar, resolve_output
from symdiag.tasks.options import ComparisonOptions, EstimationOptions, ReadingOptions


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        compare,
        short_help="Compare the straddling of two posteriors.",
        example="symdiag compare baseline.json retrained.pt --activation relu",
    )


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="A", help="Checkpoint or JSON report to compare with.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="B", help="Checkpoint or JSON report that may have regressed.")
    ],
    shown: OutputOptions,
    comparison: ComparisonOptions,
    reading: ReadingOptions,
    estimation: EstimationOptions,
    verdict: VerdictOptions,
) -> int:
    """Compare the straddling of two posteriors of one architecture.

    Exits 1 if B regressed beyond the tolerance and three standard errors, 2 if they do not compare.
    """
    out = resolve_output(shown, [before, after])
    from symdiag.tasks.compare import compare as run

    with progress_bar(shown) as progress:
        found = run(
            before,
            after,
            comparison=comparison,
            reading=reading,
            estimation=estimation,
            progress=progress,
        )
    emit(out, [found])
    return exit_code([found], exit_zero=verdict.exit_zero, strict=verdict.strict)
