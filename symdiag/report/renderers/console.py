"""The terminal: colour and line drawing where the stream can show them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from symdiag.report.document import (
    Bars,
    Block,
    Bullets,
    Command,
    Document,
    Facts,
    Notice,
    Paragraph,
    RenderOptions,
    Section,
    Table,
    Tone,
    command_lines,
)
from symdiag.report.text import ascii_safe, printable

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".ansi",)

_STYLES: dict[str, str] = {
    "good": "bold green",
    "warn": "bold yellow",
    "bad": "bold red",
    "muted": "dim",
    "plain": "",
    "error": "bold red",
    "warning": "bold yellow",
    "info": "bold cyan",
}
_INDENT = 2
_MAX_PIECE = 24
# A word with the space behind it, or a part of a name up to its punctuation.
_PIECE = re.compile(r"[^\s._/:-]*[._/:-]+\s*|[^\s._/:-]+\s*|\s+")
_ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """Every document one below the other, headlines first in each."""
    # Rich reads the environment (FORCE_COLOR, COLUMNS, TERM) unless told everything.
    console = Console(
        file=io.StringIO(),
        width=options.width,
        force_terminal=options.color,
        color_system="standard" if options.color else None,
        no_color=not options.color,
        legacy_windows=False,
        # brackets in tensor names are no markup, and :smile: is no emoji
        markup=False,
        emoji=False,
        highlight=False,
    )
    shown = _Painter(options)
    with console.capture() as capture:
        for position, entry in enumerate(entries):
            if position:
                console.print()
            for part in shown.document(entry.document):
                console.print(part, crop=False)
    # Rich pads lines to the full width; a pipe or a file wants none of that.
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


@dataclass(frozen=True)
class _Verbatim:
    """Lines that must stay whole, even beyond the width: a terminal wraps them, a paste undoes it."""

    lines: tuple[str, ...]
    indent: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield Segment(" " * self.indent + line)
            yield Segment.line()


class _Painter:
    """Blocks → rich renderables. Every string passes through ``text``, which escapes it."""

    def __init__(self, options: RenderOptions) -> None:
        self.options = options
        # Names come from files: no string reaches the terminal unescaped.
        self.clean = ascii_safe if options.ascii else printable

    def text(self, raw: str, style: str = "") -> Text:
        return Text(self.clean(raw), style=style, overflow="fold")

    def document(self, document: Document) -> list[RenderableType]:
        headline = self.text(document.headline, _STYLES[document.tone])
        parts: list[RenderableType] = [self.text(document.subject, "bold"), headline]
        for section in document.sections:
            # detail 0 shows the headline alone, and the parts of a section marked as detail need 2
            if self.options.detail >= (2 if section.detail else 1):
                parts += self.section(section)
        return parts

    def section(self, section: Section) -> list[RenderableType]:
        # Bars are for formats that can draw; the numbers are in tables as well.
        blocks = [b for b in section.blocks if not isinstance(b, Bars)]
        title = [Text(""), self.text(section.title, "bold underline" if self.options.color else "")]
        parts = [part for block in blocks for part in self.block(block)]
        # Padding would crop what must stay whole.
        shown = [p if isinstance(p, _Verbatim) else Padding(p, (0, 0, 0, _INDENT)) for p in parts]
        return [*title, *shown] if blocks else []

    def block(self, block: Block) -> list[RenderableType]:
        if isinstance(block, Paragraph):
            return [self.text(block.text, _STYLES[block.tone])]
        if isinstance(block, Command):
            purpose = [self.text(f"{block.purpose}:")] if block.purpose else []
            return [*purpose, self.shell(block.text, (1 + len(purpose)) * _INDENT)]
        if isinstance(block, Facts):
            return [self.grid(block.rows)]
        if isinstance(block, Bullets):
            return [self.grid([("•", item) for item in block.items])]
        if isinstance(block, Table):
            return [self.table(block)]
        # Bars were left out above: nothing else is in the closed list of blocks
        assert isinstance(block, Notice)
        return self.notice(block)

    def grid(self, rows: Sequence[tuple[str, str]]) -> RichTable:
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        grid.add_column(max_width=24, overflow="fold")
        grid.add_column(overflow="fold")
        for label, value in rows:
            grid.add_row(self.text(label), self.text(value))
        return grid

    def table(self, table: Table) -> RenderableType:
        """A table if it fits side by side, else a paragraph per row: no number, no word is cut."""
        lines = [[column.header for column in table.columns], *table.rows]
        cells = [[self.clean(cell) for cell in column] for column in zip(*lines, strict=True)]
        wide = [max(cell_len(cell) for cell in column) for column in cells]
        least = [
            # numbers need their full width, text no more than its longest unbreakable piece
            w if c.numeric else min(w, max(map(_longest_piece, column)))
            for c, w, column in zip(table.columns, wide, cells, strict=True)
        ]
        gaps = max(1, len(table.columns) - 1)
        room = self.options.width - _INDENT - sum(least)
        padding = 1 if room >= 2 * gaps else 0
        if room < gaps:
            body = self.stacked(table)
        else:
            spare = room - (1 + padding) * gaps
            body = self.grid_table(table, _widths(least, wide, spare), padding)
        return Group(body, self.text(table.caption, "dim")) if table.caption else body

    def grid_table(self, table: Table, widths: Sequence[int], padding: int) -> RenderableType:
        head = _ASCII_HEAD if self.options.ascii else SIMPLE_HEAD
        rich = RichTable(
            box=head,
            pad_edge=False,
            show_edge=False,
            header_style="bold",
            padding=(0, padding, 0, 0),
        )
        for column, width in zip(table.columns, widths, strict=True):
            # Wrapping inside a number would make two numbers of it.
            rich.add_column(
                self.wrapped(column.header, width),
                justify="right" if column.numeric else "left",
                no_wrap=column.numeric,
                min_width=width,
            )
        for row in table.rows:
            cells = zip(row, widths, strict=True)
            rich.add_row(*(self.wrapped(cell, width) for cell, width in cells))
        return rich

    def wrapped(self, raw: str, width: int) -> Text:
        """Text on lines of at most ``width``, broken behind spaces and the punctuation of names."""
        lines = [""]
        for piece in _PIECE.findall(self.clean(raw)):
            # cells, not characters: wide characters take two columns of the terminal
            if cell_len(lines[-1]) + cell_len(piece.rstrip()) > width and lines[-1]:
                lines.append("")
            lines[-1] += piece
        return Text("\n".join(line.rstrip() for line in lines), overflow="fold")

    def stacked(self, table: Table) -> RenderableType:
        """The rows as sentences, where no table fits."""
        rows = []
        for row in table.rows:
            # what names the row needs no header; bars without one say nothing in a sentence
            said = [row[0]] if row and not table.columns[0].header else []
            said += [
                f"{column.header}: {cell}"
                for column, cell in zip(table.columns, row, strict=True)
                if column.header and cell
            ]
            rows.append(self.text("; ".join(said)))
        return Group(*rows)

    def notice(self, notice: Notice) -> list[RenderableType]:
        line = Text.assemble(
            (f"{self.clean(notice.code)} {notice.severity}", _STYLES[notice.severity]),
            self.clean(f"  {notice.message}"),
        )
        line.overflow = "fold"
        rest = [self.text(" ".join(notice.sentences))] if notice.sentences else []
        following, commands = notice.next_step, []
        if isinstance(following, Command):
            rest.append(self.text(f"Next: {following.purpose}".rstrip(": ") + ":"))
            commands.append(self.shell(following.text, 3 * _INDENT))
        elif following is not None:
            rest.append(self.text(f"Next: {following.text}"))
        return [line, *(Padding(r, (0, 0, 0, 2)) for r in rest), *commands]

    def shell(self, command: str, indent: int) -> _Verbatim:
        """The command broken where a shell allows it: what is pasted from a terminal must run."""
        # broken before it is escaped: quoting must be judged on the words that the shell gets
        lines = command_lines(command, self.options.width - indent)
        return _Verbatim(tuple(self.clean(line) for line in lines), indent)


def _longest_piece(cell: str) -> int:
    """Cells that the longest part of a text needs; a part that nobody could read may be cut."""
    return min(_MAX_PIECE, max((cell_len(p.rstrip()) for p in _PIECE.findall(cell)), default=0))


def _widths(least: Sequence[int], wide: Sequence[int], spare: int) -> list[int]:
    """Column widths: what each needs at least, and the rest to the columns that want more, in turn."""
    widths = list(least)
    # From the left: names come first, and they gain most from room.
    for i, most in enumerate(wide):
        given = min(spare, most - widths[i])
        widths[i], spare = widths[i] + given, spare - given
    return widths


def style_of(tone: Tone) -> str:
    """The rich style of a tone, for messages outside a report."""
    return _STYLES[tone]
