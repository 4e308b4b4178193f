"""Where the report goes: one format on stdout, files beside it, progress on stderr."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from symdiag.cli._streams import is_tty, speaks_unicode, wants_color, write_stderr, write_stdout
from symdiag.errors import OutputError, UsageError
from symdiag.workers import is_first

if TYPE_CHECKING:
    from symdiag.cli._options import ShownOptions
    from symdiag.report import RenderOptions
    from symdiag.report.rendering import Renderable
    from symdiag.training.metrics import Record

FOLDER = "figures"
"""What stands for a format where ``-o`` names a folder."""

_EVERY = 10  # intervals between lines where the line cannot be rewritten in place


@dataclass(frozen=True)
class Output:
    """A resolved ``--format``, ``-o``, ``--color``, ``--theme``, ``-q``, ``-v``.

    ``files``: format and path; the format of a folder for figures is ``FOLDER``.
    """

    format: str
    files: tuple[tuple[str, Path], ...]
    options: RenderOptions
    theme: str = "light"


def resolve_output(shown: ShownOptions, inputs: Sequence[Path | None] = ()) -> Output:
    """Check every output option before any work is done.

    Raises:
        UsageError: Unknown format or colour choice, ambiguous or duplicate file, or a file that is
            an input.
        OutputError: The folder of a file does not exist.
    """
    from symdiag.report import RenderOptions
    from symdiag.report.figures import style_of
    from symdiag.report.pictures import ON_A_PAGE
    from symdiag.report.renderers import format_module

    style_of(shown.theme)
    if shown.color not in ("auto", "always", "never"):
        raise UsageError(f"unknown --color {shown.color!r}", hint="auto, always or never")
    paint = wants_color(shown.color)
    name = shown.format or ("console" if is_tty(sys.stdout) or paint else "text")
    # unknown formats are refused now, not after the analysis
    format_module(name)
    # piped text has a width of its own: it must not depend on who runs it
    width = shutil.get_terminal_size().columns if is_tty(sys.stdout) else 80
    options = RenderOptions(
        color=paint and name == "console",
        ascii=not speaks_unicode(sys.stdout),
        # narrower, tables break up; wider, lines get hard to follow
        width=max(40, min(width, 120)),
        detail=0 if shown.quiet else 1 + min(shown.verbose, 1),
        figures=ON_A_PAGE,
    )
    files = _files(shown.files, [path for path in inputs if path])
    return Output(name, files, options, shown.theme)


def _files(output: Sequence[str], inputs: Sequence[Path]) -> tuple[tuple[str, Path], ...]:
    taken = {os.path.realpath(path) for path in inputs}
    files = []
    for spec in output:
        name, path = _split(spec)
        # links to an input or to one another count as the same file
        if os.path.realpath(path) in taken:
            raise UsageError(
                f"{path} is an input or is written twice", hint="choose another -o FILE"
            )
        taken_by_folder = path.is_dir() if name != FOLDER else path.exists() and not path.is_dir()
        if taken_by_folder or not Path(os.path.realpath(path)).parent.is_dir():
            raise OutputError(
                f"{path} is a folder, or its folder does not exist", hint="create the folder first"
            )
        taken.add(os.path.realpath(path))
        files.append((name, path))
    return tuple(files)


def _split(spec: str) -> tuple[str, Path]:
    from symdiag.report import format_names, format_of
    from symdiag.report.pictures import PICTURE_FORMATS

    if spec.endswith(("/", os.sep)) or Path(spec).is_dir():
        return FOLDER, Path(spec)
    # FORMAT=FILE only for known formats: a file name may hold an equals sign
    prefix, equals, rest = spec.partition("=")
    if equals and rest and prefix in (*format_names(), *PICTURE_FORMATS):
        return prefix, Path(rest)
    ending = Path(spec).suffix[1:].lower()
    if ending in PICTURE_FORMATS:
        return ending, Path(spec)
    return format_of(spec), Path(spec)


def emit(output: Output, items: Sequence[Renderable]) -> None:
    """Write every file, then stdout.

    Raises:
        OutputError: Something could not be written; files already there are left as they were.
    """
    from symdiag.formats.atomic import atomic_write
    from symdiag.report import render_all

    for name, path in output.files:
        for file, content in _contents(output, name, path, items).items():
            # a report is made anew by the same command; inputs were refused above
            atomic_write(file, content, overwrite=True)
            # on a terminal alone: logs have the command that names it
            if is_tty(sys.stderr) and output.options.detail:
                write_stderr(f"wrote {file}\n")
    write_stdout(render_all(items, output.format, output.options))


def _contents(
    output: Output, name: str, path: Path, items: Sequence[Renderable]
) -> dict[Path, bytes]:
    """What to write where, for one ``-o``."""
    from symdiag.report import render_all
    from symdiag.report.pictures import PICTURE_FORMATS, gallery, picture
    from symdiag.report.reading import Failure

    # what could not be read has nothing to draw; the report on stdout says so
    reports = [item for item in items if not isinstance(item, Failure)]
    if name == FOLDER:
        _make_folder(path)
        return {path / k: v for k, v in gallery(reports, theme=output.theme).items()}
    if name in PICTURE_FORMATS:
        return {path: picture(reports, name, theme=output.theme)}
    # files are for other eyes than this terminal: no colour, any character, a width of their own
    options = replace(
        output.options,
        color=False,
        ascii=False,
        width=100,
        detail=max(1, output.options.detail),
    )
    return {path: render_all(items, name, options).encode("utf-8", "backslashreplace")}


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create {path}: {error.strerror}") from error


@contextmanager
def progress_bar(shown: ShownOptions) -> Iterator[Callable[[str, float], None] | None]:
    """Yield a callable that moves a bar on stderr, or None where a bar would do harm.

    FORCE_COLOR does not count: an animation in a CI log is noise.
    """
    if shown.quiet or not (is_tty(sys.stdout) and is_tty(sys.stderr) and is_first()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda stage, done: bar.update(task, description=stage, completed=done)


def training_line(shown: ShownOptions) -> tuple[Callable[[Record], None], ...]:
    """Sinks of training metrics: a line per interval, rewritten in place on a terminal.

    Elsewhere every tenth line and each run's last; no sink where nobody wants to see it.
    """
    if shown.quiet:
        return ()
    # a log has no cursor to go back with
    live = is_tty(sys.stderr)
    count = itertools.count(1)

    def show(record: Record) -> None:
        last = record.step >= record.steps
        if next(count) % _EVERY != 1 and not (live or last):
            return
        line = (
            f"{record.phase}: step {record.step}/{record.steps}  ELBO {record.elbo:.2f}  "
            f"H {record.straddling_entropy:.2f}  {record.steps_per_second:.0f} steps/s  "
            f"ETA {record.eta_seconds:.0f} s"
        )
        write_stderr(f"\r{line:<78}" + ("\n" if last else "") if live else f"{line}\n")

    return (show,)
