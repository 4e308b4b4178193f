"""``symdiag prune``: write the narrower posterior without the units that can go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import OK
from symdiag.cli._options import ReportOptions, command
from symdiag.cli._output import emit, resolve_output, training_line
from symdiag.tasks.options import DataOptions, EstimationOptions, PruneOptions, ReadingOptions
from symdiag.training.config import ModelConfig


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        prune,
        short_help="Remove collapsed units: a narrower posterior, same format.",
        example="symdiag prune model.pt --activation relu -o small.pt",
    )


def prune(
    path: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint to narrow; never overwritten.")
    ],
    pruning: PruneOptions,
    given: DataOptions,
    model_config: ModelConfig,
    reading: ReadingOptions,
    estimation: EstimationOptions,
    shown: ReportOptions,
) -> int:
    """Remove the units without which the mean function stays, and say what that does.

    Exits 0 whether or not anything could go, 2 where the narrower net would compute something else.
    """
    out = resolve_output(shown, [path, given.data, given.test, pruning.output])
    from symdiag.tasks.prune import prune as run

    done = run(
        path,
        pruning=pruning,
        given=given,
        model_config=model_config,
        reading=reading,
        estimation=estimation,
        sinks=training_line(shown),
    )
    emit(out, [done.report])
    return OK
