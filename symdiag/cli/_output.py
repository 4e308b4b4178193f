"""Where the report goes: one format on stdout, any number of files beside it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from symdiag.cli._streams import is_tty, speaks_unicode, wants_color, write_stdout
from symdiag.errors import OutputError, UsageError

if TYPE_CHECKING:
    from symdiag.report import RenderOptions
    from symdiag.report.rendering import Renderable


@dataclass(frozen=True)
class Output:
    """A resolved ``--format``, ``-o``, ``--color``, ``-q``, ``-v``."""

    format: str
    files: tuple[tuple[str, Path], ...]
    options: RenderOptions


def resolve_output(
    format: str | None,
    output: Sequence[str] = (),
    color: str = "auto",
    quiet: bool = False,
    verbose: int = 0,
    inputs: Sequence[Path] = (),
) -> Output:
    """Check every output option before any work is done.

    Raises:
        UsageError: Unknown format or colour choice, ambiguous or duplicate file, or a file that is an input.
        OutputError: The folder of a file does not exist.
    """
    from symdiag.report import RenderOptions
    from symdiag.report.renderers import format_module

    if color not in ("auto", "always", "never"):
        raise UsageError(f"unknown --color {color!r}", hint="auto, always or never")
    paint = wants_color(color)
    name = format or ("console" if is_tty(sys.stdout) or paint else "text")
    format_module(name)
    width = shutil.get_terminal_size().columns if is_tty(sys.stdout) else 80
    options = RenderOptions(
        color=paint and name == "console",
        ascii=not speaks_unicode(sys.stdout),
        width=max(40, min(width, 120)),
        detail=0 if quiet else 1 + min(verbose, 1),
    )
    return Output(name, _files(output, inputs), options)


def _files(output: Sequence[str], inputs: Sequence[Path]) -> tuple[tuple[str, Path], ...]:
    taken = {os.path.realpath(path) for path in inputs}
    files = []
    for spec in output:
        name, path = _split(spec)
        if os.path.realpath(path) in taken:
            raise UsageError(
                f"{path} is an input or is written twice", hint="choose another -o FILE"
            )
        if path.is_dir() or not Path(os.path.realpath(path)).parent.is_dir():
            raise OutputError(
                f"{path} is a folder, or its folder does not exist", hint="create the folder first"
            )
        taken.add(os.path.realpath(path))
        files.append((name, path))
    return tuple(files)


def _split(spec: str) -> tuple[str, Path]:
    from symdiag.report import format_names, format_of

    prefix, equals, rest = spec.partition("=")
    if equals and rest and prefix in format_names():
        return prefix, Path(rest)
    return format_of(spec), Path(spec)


def emit(output: Output, items: Sequence[Renderable]) -> None:
    """Write every file, then stdout.

    Raises:
        OutputError: Something could not be written; files already there are left as they were.
    """
    from symdiag.formats.atomic import atomic_write
    from symdiag.report import render_all

    for name, path in output.files:
        options = replace(
            output.options,
            color=False,
            ascii=False,
            width=100,
            detail=max(1, output.options.detail),
        )
        atomic_write(
            path,
            render_all(items, name, options).encode("utf-8", "backslashreplace"),
            overwrite=True,
        )
    write_stdout(render_all(items, output.format, output.options))
