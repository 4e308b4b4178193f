"""``symdiag report``: an existing JSON report in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import OK
from symdiag.cli._options import OutputOptions, command
from symdiag.cli._output import emit, resolve_output


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        report,
        short_help="Show a JSON report in another format.",
        example="symdiag report report.json --format markdown -o report.html",
    )


def report(
    path: Annotated[
        Path,
        typer.Argument(metavar="REPORT.json", help="Written by --format json or -o FILE.json."),
    ],
    shown: OutputOptions,
) -> int:
    """Show a JSON report in another format; the checkpoint is not needed.

    Exits 0 whatever the report's verdict: the run that made the report has exited with it.
    """
    from symdiag.report.reading import read_reports

    out = resolve_output(shown, [path])
    emit(out, read_reports(path))
    return OK
