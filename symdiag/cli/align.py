"""``symdiag align``: match the units of posteriors, and say how sure the match is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.cli._exits import FINDING, OK
from symdiag.cli._options import ReportOptions, command
from symdiag.cli._output import emit, resolve_output
from symdiag.errors import UsageError
from symdiag.tasks.options import MatchingOptions, PathOptions, ReadingOptions, WrittenOptions


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        align,
        short_help="Relabel a posterior onto another one.",
        example="symdiag align model.pt reference.pt --activation relu -o aligned.pt",
    )


def align(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT REFERENCE", help="Two checkpoints; several: --universe."
        ),
    ],
    universe: Annotated[
        bool, typer.Option("--universe", help="Bring all checkpoints to one labelling.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 unless it is the same mode, certified.")
    ] = False,
    *,
    written: WrittenOptions,
    matching: MatchingOptions,
    path: PathOptions,
    reading: ReadingOptions,
    shown: ReportOptions,
) -> int:
    """Permute (and sign-flip) MODEL's units onto REFERENCE's; or several to one labelling.

    Exits 0 with a report, 2 without one. `--strict` exits 1 on "different" or an uncertified match.
    """
    if not universe and len(paths) != 2:
        raise UsageError(
            f"align takes MODEL and REFERENCE, got {len(paths)} files",
            hint="several files: --universe",
        )
    if universe and (written.output is not None or path.data is not None):
        raise UsageError(
            "--universe takes neither -o nor --data",
            hint="align the files one by one to a reference",
        )
    out = resolve_output(shown, paths)
    from symdiag.tasks import align as task

    done: task.Aligned | task.AlignedMany
    if universe:
        done = task.align_many(paths, matching=matching, reading=reading)
    else:
        done = task.align(*paths, matching=matching, path=path, reading=reading, written=written)
    emit(out, [done.report])
    return FINDING if strict and not done.is_settled else OK
