"""``symdiag doctor``: versions, threads, devices, and which optional parts are missing."""

from __future__ import annotations

import typer

from symdiag.cli._exits import NO_VERDICT, OK
from symdiag.cli._options import OutputOptions, command
from symdiag.cli._output import emit, resolve_output


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        doctor,
        short_help="Show versions, threads, devices and missing packages.",
        example="symdiag doctor --format json",
    )


def doctor(*, shown: OutputOptions) -> int:
    """Look at the installation: what is there, what is missing, what of the machine can be used.

    Exits 2 when a required package is missing, too old or does not load. Put its output into a bug
    report.
    """
    out = resolve_output(shown)
    from symdiag.tasks.doctor import doctor as run

    found = run()
    emit(out, [found])
    return OK if found.verdict == "ready" else NO_VERDICT
