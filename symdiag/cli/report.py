"""``symdiag report``: an existing JSON report in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import OK
from symdiag.cli._output import emit, resolve_output

EXAMPLE = "Example: symdiag report report.json --format markdown -o report.html"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report", short_help="Show a JSON report in another format.", epilog=EXAMPLE)(
        report
    )


def report(
    path: Annotated[
        Path,
        typer.Argument(metavar="REPORT.json", help="Written by --format json or -o FILE.json."),
    ],
    format: opt.Format = None,
    output: opt.Output = None,
    color: opt.Color = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> int:
    """Show a JSON report in another format; the checkpoint is not needed.

    Exits 0 whatever the report's verdict: the run that made the report has exited with it.
    """
    from symdiag.report.reading import read_reports

    out = resolve_output(format, output or (), color, quiet, verbose, [path])
    emit(out, read_reports(path))
    return OK
