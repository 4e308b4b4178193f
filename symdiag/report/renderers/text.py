"""Plain text: the console's layout in ASCII without colour, for pipes, files and any locale."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from symdiag.report.document import RenderOptions
from symdiag.report.renderers import console

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".txt", ".log")


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """The same blocks as the console, ASCII only."""
    # A locale may know ASCII only, and a log file has no use for escape sequences.
    return console.render(entries, dataclasses.replace(options, color=False, ascii=True))
