"""``symdiag align``: match the units of posteriors, and say how sure the match is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import FINDING, OK
from symdiag.cli._output import emit, resolve_output
from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.report.align_run import Aligned

EXAMPLE = "Example: symdiag align model.pt reference.pt --activation relu -o aligned.pt"


Paths = Annotated[
    list[Path],
    typer.Argument(metavar="MODEL REFERENCE", help="Two checkpoints; several: --universe."),
]
AlignedFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write the aligned model, in its own format."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")]
Many = Annotated[bool, typer.Option("--universe", help="Bring all checkpoints to one labelling.")]
Cost = Annotated[
    str,
    typer.Option(
        "--cost", envvar="SYMDIAG_COST", help="w2 (means and stds), kl, hellinger or mean."
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        "--restarts", min=0, help="Random starts. Default: as many as are cheap, up to 48."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Data: adds ELBO and NLL along the straight path.")
]
Likelihood = Annotated[str | None, typer.Option("--likelihood", help=opt.LIKELIHOODS)]
Noise = Annotated[float | None, typer.Option("--noise", min=1e-12, help="Noise std. Default: 1.")]
PriorStd = Annotated[
    float | None,
    typer.Option("--prior-std", min=1e-12, help="Prior std, where the checkpoint has none."),
]
PathSamples = Annotated[
    int, typer.Option("--samples", min=1, help="Weight draws at each point of the path.")
]
Report = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FILE", help="Also write the report; repeatable."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit 1 unless it is the same mode, certified.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("align", short_help="Relabel a posterior onto another one.", epilog=EXAMPLE)(align)


def align(
    paths: Paths,
    output: AlignedFile = None,
    overwrite: Overwrite = False,
    universe: Many = False,
    cost: Cost = "w2",
    restarts: Restarts = None,
    data: Data = None,
    likelihood: Likelihood = None,
    noise: Noise = None,
    prior_std: PriorStd = None,
    activation: opt.Activation = None,
    scale_transform: opt.ScaleTransform = None,
    companion: opt.Companions = None,
    model: opt.Model = None,
    spec: opt.Spec = None,
    samples: PathSamples = 32,
    seed: opt.Seed = 0,
    format: opt.Format = None,
    report: Report = None,
    strict: Strict = False,
    color: opt.Color = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> int:
    """Permute (and sign-flip) MODEL's units onto REFERENCE's; or several models to a common labelling.

    Exits 0 with a report, 2 without one. `--strict` exits 1 on "different" or an uncertified match.
    """
    _check(paths, universe, output, data)
    out = resolve_output(format, report or (), color, quiet, verbose, paths)
    from symdiag.report.align_run import run_align, run_universe

    options: dict[str, Any] = dict(
        cost=cost, restarts=restarts, seed=seed, activation=activation, model=model
    )
    options |= dict(scale_transform=scale_transform, companion=companion or None, spec_file=spec)
    evaluation: dict[str, Any] = dict(
        data=data, likelihood=likelihood, noise=noise, prior_std=prior_std, samples=samples
    )
    done = (
        run_universe(paths, **options)
        if universe
        else run_align(paths[0], paths[1], **options, **evaluation)
    )
    _save(done, output, overwrite, companion[0] if companion else None)
    emit(out, [done.report])
    return FINDING if strict and not done.is_settled else OK


def _check(paths: list[Path], universe: bool, output: Path | None, data: Path | None) -> None:
    if not universe and len(paths) != 2:
        raise UsageError(
            f"align takes MODEL and REFERENCE, got {len(paths)} files",
            hint="several files: --universe",
        )
    if universe and (output is not None or data is not None):
        raise UsageError(
            "--universe takes neither -o nor --data",
            hint="align the files one by one to a reference",
        )
    if output is not None and os.path.realpath(output) in {os.path.realpath(p) for p in paths}:
        raise UsageError(f"{output} is an input", hint="choose another -o FILE")


def _save(done: Aligned, output: Path | None, overwrite: bool, companion: Path | None) -> None:
    if output is None:
        return
    from symdiag.formats import save

    second = output.with_name(f"{output.stem}-{companion.name}") if companion else None
    save(done.posteriors[0], output, overwrite=overwrite, companion=second)
