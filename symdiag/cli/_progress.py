"""A progress bar on stderr, shown only when both stdout and stderr are terminals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from symdiag.cli._streams import is_tty

Progress: TypeAlias = Callable[[str, float], None]
"""``progress(stage, done)`` with ``done`` in [0, 1]."""


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Progress | None]:
    """Yield a callable that moves the bar, or None where a bar would do harm.

    FORCE_COLOR does not count: an animation in a CI log is noise.
    """
    if not (wanted and is_tty(sys.stdout) and is_tty(sys.stderr)):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda stage, done: bar.update(task, description=stage, completed=done)
