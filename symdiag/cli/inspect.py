"""``symdiag inspect``: what a checkpoint holds and its symmetries, without estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import NO_VERDICT, OK
from symdiag.cli._options import OutputOptions, command
from symdiag.cli._output import emit, resolve_output
from symdiag.tasks.options import ReadingOptions


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        inspect,
        short_help="Show what a checkpoint holds and its symmetry group.",
        example="symdiag inspect posterior.safetensors --write-spec spec.toml",
    )


def inspect(
    path: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint to look into.")],
    write_spec: Annotated[
        Path | None,
        typer.Option("--write-spec", help="Write the permutation spec found, for editing (TOML)."),
    ] = None,
    *,
    shown: OutputOptions,
    reading: ReadingOptions,
) -> int:
    """Show container, tensors, posterior stds, architecture and symmetry groups of a checkpoint.

    Exits 2 when the file is no posterior that can be read; what could be seen is shown.
    """
    out = resolve_output(shown, [path])
    from symdiag.tasks.inspect import inspect as run

    found = run(path, reading=reading, write_spec=write_spec)
    emit(out, [found])
    return OK if found.problem is None else NO_VERDICT
