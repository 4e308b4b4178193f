"""``symdiag samples``: label switching in draws of a network's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import FINDING, OK
from symdiag.cli._output import emit, resolve_output
from symdiag.cli._progress import progress_bar

EXAMPLE = "Example: symdiag samples draws.npz --activation tanh -o aligned.npz"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("samples", short_help="Measure label switching in weight samples.", epilog=EXAMPLE)(
        samples
    )


def samples(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="One file with all draws, or one file per draw."),
    ],
    chains: Annotated[
        bool,
        typer.Option("--chains", help="Tensors have axes (chain, draw, ...), not (draw, ...)."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the aligned draws as npz."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it is there.")
    ] = False,
    max_switching: Annotated[
        float,
        typer.Option(
            "--max-switching",
            envvar="SYMDIAG_MAX_SWITCHING",
            min=0,
            max=1,
            help="Fraction of draws off the majority labelling that is no finding.",
        ),
    ] = 0.05,
    starts: Annotated[
        int | None,
        typer.Option("--starts", min=1, help="Orders of the draws tried. Default: up to 6."),
    ] = None,
    activation: opt.Activation = None,
    model: opt.Model = None,
    spec: opt.Spec = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Weight draws from the fitted Gaussians, for H(g|w)."
        ),
    ] = None,
    seed: opt.Seed = 0,
    format: opt.Format = None,
    report: Annotated[
        list[str] | None,
        typer.Option("--report", metavar="FILE", help="Also write the report; repeatable."),
    ] = None,
    exit_zero: opt.ExitZero = False,
    color: opt.Color = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> int:
    """Bring weight draws (an ensemble, HMC or SGLD) to one labelling; say how much of their spread was relabelling.

    Exits 1 when more draws than --max-switching are off the majority labelling, 2 without a report.
    """
    out = resolve_output(
        format, report or (), color, quiet, verbose, [*paths, *([output] if output else [])]
    )
    from symdiag.sampling import analyze_samples, check_output

    check_output(output, paths, overwrite=overwrite)
    with progress_bar(not quiet) as progress:
        done = analyze_samples(
            [str(path) for path in paths],
            chains=chains,
            activation=activation,
            model=model,
            spec=spec,
            starts=starts,
            samples=samples,
            seed=seed,
            max_switching=max_switching,
            progress=progress,
        )
    if output is not None:
        done.save(output, overwrite=overwrite)
    emit(out, [done.report])
    return FINDING if done.report.verdict == "label switching" and not exit_zero else OK
