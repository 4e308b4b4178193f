"""``symdiag retrain``: train a posterior further on the symmetrised objective."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import FINDING, OK
from symdiag.cli._output import emit, resolve_output
from symdiag.cli._training import parse_noise, parse_prior, progress_sink
from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.retraining import Retraining

EXAMPLE = (
    "Example: symdiag retrain model.pt --data train.npz --test test.npz --activation relu "
    "--noise 0.3 --prior-std 1 -o fixed.pt"
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        "retrain",
        short_help="Retrain on the symmetrised objective, with a control.",
        epilog=EXAMPLE,
    )(retrain)


def retrain(
    path: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Checkpoint to start from; never overwritten.")
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Training data: npz, csv, safetensors, .pt or parquet.")
    ],
    test: Annotated[
        Path | None, typer.Option("--test", help="Test data: adds NLL, RMSE or accuracy.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Target column of csv or parquet.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Retrained checkpoint, same format.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="checkpoint, or scratch: random means.")
    ] = "checkpoint",
    objective: Annotated[str, typer.Option("--objective", help=opt.OBJECTIVES)] = "symmetrized",
    elements: Annotated[
        int | None, typer.Option("--K", min=2, help="Group elements of infonce. Default: 20.")
    ] = None,
    marginals: Annotated[
        str | None,
        typer.Option("--marginals", help="Symmetrized: auto (default), exact, mcmc or bethe."),
    ] = None,
    likelihood: Annotated[str, typer.Option("--likelihood", help=opt.LIKELIHOODS)] = "gaussian",
    noise: Annotated[
        str | None, typer.Option("--noise", help="Noise std, or learn (default).")
    ] = None,
    prior_std: Annotated[
        list[str] | None,
        typer.Option(
            "--prior-std",
            metavar="STD",
            help="Prior std, or LAYER=STD; repeatable. Default: the file's.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Optimiser steps. Default: 5000, or 20 epochs."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak rate. Default: by size.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Default: all up to 1024, else 256.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=1, help="Weight draws per step. Default: by size.")
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            "--patience", min=0, help="Intervals without progress before stopping; 0: never."
        ),
    ] = 12,
    interval: Annotated[
        int | None, typer.Option("--interval", min=1, help="Steps between checkpoints.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="Also train with the plain ELBO.")
    ] = True,
    control_runs: Annotated[
        int, typer.Option("--control-runs", min=1, help="More than one measures run noise.")
    ] = 3,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from an interrupted run's state.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="Where that is kept. Default: OUTPUT.state.")
    ] = None,
    keep_worse: Annotated[
        bool, typer.Option("--keep-worse", help="Write the output even if it is worse.")
    ] = False,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="JSON-lines file of training metrics.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", help="TensorBoard folder.")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=2, help="Weight draws of the evaluation.")
    ] = 1000,
    activation: opt.Activation = None,
    scale_transform: opt.ScaleTransform = None,
    companion: opt.Companion = None,
    model: opt.Model = None,
    spec: opt.Spec = None,
    precision: opt.Precision = None,
    budget: opt.Budget = None,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
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
    """Retrain a posterior on the symmetrised objective and say what it gained.

    Exits 0 when improved or without measurable benefit, 1 when worse (nothing is written then), 2 on failure.
    """
    if start not in ("checkpoint", "scratch"):
        raise UsageError(
            f"unknown --from {start!r}", code="bad-option", hint="checkpoint or scratch"
        )
    out = resolve_output(
        format, report or (), color, quiet, verbose, [p for p in (path, data, test, output) if p]
    )
    training = dict(
        objective=objective,
        num_elements=elements,
        marginals=marginals,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        draws=draws,
        patience=patience,
        interval=interval,
        seed=seed,
    )
    options = dict(
        test=test,
        target=target,
        start=start,
        control_runs=control_runs if control else 0,
        resume=resume,
        device=device,
        scale_transform=scale_transform,
        companion=companion,
        sinks=() if quiet else (progress_sink(),),
    )
    result = _run(
        path,
        data,
        training,
        dict(likelihood=likelihood, noise=parse_noise(noise), **parse_prior(prior_std or [])),
        dict(activation=activation, model=model, spec=spec),
        dict(
            output=output,
            state=state,
            metrics=metrics,
            tensorboard=tensorboard,
            keep_worse=keep_worse,
        ),
        dict(samples=samples, seed=seed, precision=precision, budget=budget),
        options,
    )
    if result is None:  # another process of this run reports
        return OK
    emit(out, [result.report])
    return FINDING if result.report.verdict == "worse" and not exit_zero else OK


def _run(
    path: Path,
    data: Path,
    training: dict[str, Any],
    model: dict[str, Any],
    network: dict[str, Any],
    files: dict[str, Any],
    evaluation: dict[str, Any],
    options: dict[str, Any],
) -> Retraining | None:
    from symdiag import retraining
    from symdiag.estimators.devices import check_device
    from symdiag.training.config import ModelConfig, TrainingConfig
    from symdiag.training.evaluation import EvaluationConfig

    check_device(options["device"])
    return retraining.retrain(
        path,
        data,
        training=TrainingConfig(**training),
        model=ModelConfig(**model),
        network=retraining.Network(**network),
        files=retraining.Files(**files),
        evaluation=EvaluationConfig(**evaluation),
        **options,
    )
