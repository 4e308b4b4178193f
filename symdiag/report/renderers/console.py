"""The terminal: colour and line drawing where the stream can show them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD, Box
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
_MIN_TEXT = 9
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
        """A table if its numbers fit side by side, else a paragraph per row: no digit is lost."""
        needed = self.least_width(table)
        room = self.options.width - _INDENT - needed
        gaps = max(1, len(table.columns) - 1)
        body = (
            self.grid_table(table, padding=1 if room >= 2 * gaps else 0)
            if room >= gaps
            else self.stacked(table)
        )
        return Group(body, self.text(table.caption, "dim")) if table.caption else body

    def least_width(self, table: Table) -> int:
        """Columns that the cells need: numbers in full, texts at least ``_MIN_TEXT`` of theirs."""
        lines = [[column.header for column in table.columns], *table.rows]
        widths = [
            max(self.text(line[i]).cell_len for line in lines) for i in range(len(table.columns))
        ]
        return sum(
            w if c.numeric else min(w, _MIN_TEXT)
            for c, w in zip(table.columns, widths, strict=True)
        )

    def grid_table(self, table: Table, padding: int) -> RenderableType:
        head = _ASCII_HEAD if self.options.ascii else SIMPLE_HEAD
        rich = RichTable(
            box=head,
            pad_edge=False,
            show_edge=False,
            header_style="bold",
            padding=(0, padding, 0, 0),
        )
        for column in table.columns:
            header = self.text(column.header)
            if column.numeric:
                # Wrapping inside a number would make two numbers of it.
                rich.add_column(header, justify="right", no_wrap=True)
            else:
                rich.add_column(header, overflow="fold", min_width=min(_MIN_TEXT, header.cell_len))
        for row in table.rows:
            rich.add_row(*(self.text(cell) for cell in row))
        return rich

    def stacked(self, table: Table) -> RenderableType:
        rows = [
            [f"{c.header}: {cell}" for c, cell in zip(table.columns, row, strict=True)]
            for row in table.rows
        ]
        return Group(*(self.text("; ".join(row)) for row in rows))

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
        lines = command_lines(command, self.options.width - indent)
        return _Verbatim(tuple(self.clean(line) for line in lines), indent)


def style_of(tone: Tone) -> str:
    """The rich style of a tone, for messages outside a report."""
    return _STYLES[tone]
