"""``symdiag analyze``: how many equivalent modes does a posterior straddle?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import NO_VERDICT, error_line, exit_code, explained
from symdiag.cli._output import emit, resolve_output
from symdiag.cli._progress import progress_bar
from symdiag.cli._streams import write_stderr
from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.evidence import Data

EXAMPLE = "Example: symdiag analyze posterior.pt --activation relu --format json"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        "analyze",
        short_help="Diagnose what symmetry has done to trained posteriors.",
        epilog=EXAMPLE,
    )(analyze)


def analyze(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Checkpoints to diagnose.")
    ],
    format: opt.Format = None,
    output: opt.Output = None,
    activation: opt.Activation = None,
    scale_transform: opt.ScaleTransform = None,
    companion: opt.Companions = None,
    model: opt.Model = None,
    spec: opt.Spec = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Training data: adds both ELBOs.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Test data: adds predictive scores.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Target column of csv or parquet.")
    ] = None,
    likelihood: Annotated[str, typer.Option("--likelihood", help=opt.LIKELIHOODS)] = "gaussian",
    noise: Annotated[
        float | None,
        typer.Option("--noise", min=1e-12, help="Noise std. Default: the residuals'."),
    ] = None,
    prior_std: Annotated[
        float | None,
        typer.Option("--prior-std", min=1e-12, help="Prior std. Default: the checkpoint's prior."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Align to this posterior first.")
    ] = None,
    infonce: Annotated[
        int | None,
        typer.Option(
            "--infonce", metavar="K", min=2, help="Show the paper's estimate I^K beside ours."
        ),
    ] = None,
    max_straddling: opt.MaxStraddling = 1.0,
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
    """Diagnose how weight-space symmetry has affected trained posteriors.

    Exits 0 below the limit, 1 above it, 2 without a verdict.
    """
    out = resolve_output(format, output or (), color, quiet, verbose, paths)
    given: dict[str, Any] = dict(
        activation=activation, scale_transform=scale_transform, model=model, spec=spec
    )
    given |= dict(
        samples=samples, precision=precision, budget=budget, reference=reference, infonce=infonce
    )
    given |= dict(data=_data(data, test, target, likelihood, noise, prior_std))
    chosen = {key: value for key, value in given.items() if value is not None}
    settings = dict(seed=seed, device=device, max_straddling=max_straddling, **chosen)
    seconds = _companions(companion, paths, reference)
    items = [
        _analyze_one(path, {**settings, **second}, many=len(paths) > 1, quiet=quiet)
        for path, second in zip(paths, seconds, strict=True)
    ]
    emit(out, items)
    return _code(items, exit_zero, strict)


def _companions(
    given: list[Path] | None, paths: list[Path], reference: Path | None
) -> list[dict[str, Any]]:
    """For each checkpoint, the option that names its companion and that of the reference, which comes last."""
    if not given:
        return [{}] * len(paths)
    from symdiag.formats import companions_of

    *seconds, last = companions_of(given, len(paths) + 1 if reference else len(paths)) + (
        [] if reference else [None]
    )
    return [{"companion": [second, last]} for second in seconds]


def _data(
    train: Path | None,
    test: Path | None,
    target: str | None,
    likelihood: str,
    noise: float | None,
    prior: float | None,
) -> Data | None:
    if train is None:
        if test is not None:
            raise UsageError("--test needs --data", hint="give the training data too")
        return None
    from symdiag.evidence import Data
    from symdiag.training.config import ModelConfig

    return Data(train, test, target, ModelConfig(likelihood, noise, prior))


def _analyze_one(path: Path, settings: dict[str, Any], *, many: bool, quiet: bool) -> Any:
    """A report; or, in a run over several files, the failure of this one, so that the others go on."""
    from symdiag.api import analyze as run

    try:
        with progress_bar(not quiet) as progress:
            return run(path, progress=progress, **settings)
    except Exception as error:
        if not many:
            raise
        from symdiag.report import Failure

        failure = Failure(str(path), explained(error))
        write_stderr(error_line(failure.error, failure.path))
        return failure


def _code(items: list[Any], exit_zero: bool, strict: bool) -> int:
    from symdiag.report import Failure

    if any(isinstance(item, Failure) for item in items):
        return NO_VERDICT
    return exit_code(items, exit_zero=exit_zero, strict=strict)
