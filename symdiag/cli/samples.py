"""``symdiag samples``: label switching in draws of a network's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import FINDING, OK
from symdiag.cli._options import FindingOptions, ReportOptions, command
from symdiag.cli._output import emit, progress_bar, resolve_output
from symdiag.tasks.options import DrawsOptions, NetworkOptions, WrittenOptions


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        samples,
        short_help="Measure label switching in weight samples.",
        example="symdiag samples draws.npz --activation tanh -o aligned.npz",
    )


def samples(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="One file with all draws, or one file per draw."),
    ],
    written: WrittenOptions,
    drawing: DrawsOptions,
    network: NetworkOptions,
    shown: ReportOptions,
    finding: FindingOptions,
) -> int:
    """Bring weight draws (an ensemble, HMC or SGLD) to one labelling.

    Says how much of their spread was relabelling.

    Exits 1 when more draws than --max-switching are off the majority labelling, and not by chance;
    2 without a report.
    """
    out = resolve_output(shown, [*paths, written.output])
    from symdiag.tasks.samples import analyze_samples

    with progress_bar(shown) as progress:
        done = analyze_samples(
            paths, drawing=drawing, network=network, written=written, progress=progress
        )
    emit(out, [done.report])
    # on a network that is only assumed nothing is found for certain
    found = done.report.verdict == "label switching" and not done.report.condition
    return FINDING if found and not finding.exit_zero else OK
