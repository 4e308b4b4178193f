"""``symdiag compare``: has straddling got worse from one posterior to the next?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import exit_code
from symdiag.cli._output import emit, resolve_output
from symdiag.cli._progress import progress_bar
from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.report import Report

EXAMPLE = "Example: symdiag compare baseline.json retrained.pt --activation relu"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compare", short_help="Compare the straddling of two posteriors.", epilog=EXAMPLE)(
        compare
    )


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="A", help="Checkpoint or JSON report to compare with.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="B", help="Checkpoint or JSON report that may have regressed.")
    ],
    format: opt.Format = None,
    output: opt.Output = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", envvar="SYMDIAG_TOLERANCE", min=0, help="Nats of H that B may add."
        ),
    ] = 0.1,
    activation: opt.Activation = None,
    scale_transform: opt.ScaleTransform = None,
    companion: opt.Companions = None,
    model: opt.Model = None,
    spec: opt.Spec = None,
    precision: opt.Precision = None,
    budget: opt.Budget = None,
    samples: opt.Samples = None,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
    exit_zero: opt.ExitZero = False,
    strict: opt.Strict = False,
    color: opt.Color = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> int:
    """Compare the straddling of two posteriors of one architecture.

    Exits 1 if B regressed beyond the tolerance and three standard errors, 2 if the two cannot be compared.
    """
    from symdiag.formats import companions_of
    from symdiag.report.comparison import compare_reports

    out = resolve_output(format, output or (), color, quiet, verbose, [before, after])
    given: dict[str, Any] = dict(activation=activation, scale_transform=scale_transform)
    given |= dict(model=model, spec=spec, precision=precision, budget=budget, samples=samples)
    settings = {"seed": seed, "device": device, **{k: v for k, v in given.items() if v is not None}}
    seconds = companions_of(companion or None, 2)
    reports = [
        _report(p, {**settings, "companion": c}, quiet)
        for p, c in zip((before, after), seconds, strict=True)
    ]
    comparison = compare_reports(reports[0], reports[1], tolerance)
    emit(out, [comparison])
    return exit_code([comparison], exit_zero=exit_zero, strict=strict)


def _report(path: Path, settings: dict[str, Any], quiet: bool) -> Report:
    from symdiag.report import Report
    from symdiag.report.reading import looks_like_json, read_reports

    if not looks_like_json(path):
        from symdiag.api import analyze

        with progress_bar(not quiet) as progress:
            return analyze(path, progress=progress, **settings)
    found = read_reports(path)
    if len(found) != 1 or not isinstance(found[0], Report):
        raise UsageError(f"{path} does not hold exactly one analyze report", code="not-comparable")
    return found[0]
