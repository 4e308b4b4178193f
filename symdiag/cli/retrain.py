"""``symdiag retrain``: train a posterior further on the symmetrised objective."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import FINDING, OK
from symdiag.cli._options import FindingOptions, ReportOptions, command
from symdiag.cli._output import emit, resolve_output, training_line
from symdiag.tasks.options import ControlOptions, FileOptions, HeldOutOptions, ReadingOptions
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        retrain,
        short_help="Retrain on the symmetrised objective, with a control.",
        example="symdiag retrain model.pt --data train.npz --test test.npz --activation relu "
        "--noise 0.3 --prior-std 1 -o fixed.pt",
    )


def retrain(
    path: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint to start from; never overwritten."),
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Training data: npz, csv, safetensors, .pt or parquet.")
    ],
    held_out: HeldOutOptions,
    files: FileOptions,
    runs: ControlOptions,
    training: TrainingConfig,
    model_config: ModelConfig,
    reading: ReadingOptions,
    evaluation: EvaluationConfig,
    shown: ReportOptions,
    finding: FindingOptions,
) -> int:
    """Retrain a posterior on the symmetrised objective and say what it gained.

    Exits 0 when improved or without measurable benefit, 1 when evidence or predictions got worse
    (nothing is written then), 2 on failure. Without straddling there is nothing to gain, and it
    does not train.
    """
    out = resolve_output(shown, [path, data, held_out.test, files.output])
    from symdiag.tasks.retrain import retrain as run

    done = run(
        path,
        data,
        held_out=held_out,
        files=files,
        runs=runs,
        training=training,
        model_config=model_config,
        reading=reading,
        evaluation=evaluation,
        sinks=training_line(shown),
    )
    if done is None:  # another process of this run reports
        return OK
    emit(out, [done.report])
    return (
        FINDING
        if done.report.verdict in ("worse", "evidence up, predictions worse")
        and not finding.exit_zero
        else OK
    )
