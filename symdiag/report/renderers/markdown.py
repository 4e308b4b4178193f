"""GitHub-flavoured Markdown, made for ``$GITHUB_STEP_SUMMARY`` and pull-request comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    Table,
)
from symdiag.report.text import printable, sentence

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".md", ".markdown")

_ICONS = {"good": "✅", "warn": "⚠️", "bad": "❌", "muted": "➖", "plain": ""}
# `$` opens a formula and `@` a mention on GitHub; `|` ends a table cell.
_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """One second-level heading per document."""
    return "\n".join(_document(entry.document, options.detail) for entry in entries)


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no mentions, no line break."""
    text = _SPECIAL.sub(r"\\\1", printable(text))
    # Last, so that the entities' own characters are not escaped again.
    return "".join(_HTML.get(char, char) for char in text)


def _code(text: str) -> str:
    """An inline code span around text that may hold backticks."""
    # in a table even a code span ends at a bar, and a backslash inside one is shown
    text = printable(text).replace("|", "¦")
    # A span may hold backticks if its fence is longer than any run of them.
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    # one space on either side is stripped by the renderer; without it the fence would run on
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _document(document: Document, detail: int) -> str:
    lines = [
        f"## symdiag: {_code(document.subject)}",
        "",
        f"{_ICONS[document.tone]} {escape(document.headline)}",
        "",
    ]
    for section in document.sections:
        blocks = [b for b in section.blocks if not isinstance(b, Bars)]
        if detail >= (2 if section.detail else 1) and blocks:
            lines += [f"### {escape(section.title)}", ""]
            for block in blocks:
                lines += [*_block(block), ""]
    return "\n".join(lines)


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [escape(block.text)]
    if isinstance(block, Command):
        return [_step(block)]
    if isinstance(block, Facts):
        return [f"- {escape(label)}: {escape(value)}" for label, value in block.rows]
    if isinstance(block, Bullets):
        return [f"- {escape(item)}" for item in block.items]
    if isinstance(block, Table):
        return _table(block)
    assert isinstance(block, Notice)
    return _notice(block)


def _step(step: Command | Paragraph) -> str:
    if isinstance(step, Paragraph):
        return escape(step.text)
    purpose = f"{escape(step.purpose)}: " if step.purpose else ""
    return purpose + _code(step.text)


def _table(table: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    # without this row GitHub shows the bars as text
    rule = ["---:" if column.numeric else ":---" for column in table.columns]
    lines = [row([escape(c.header) for c in table.columns]), row(rule)]
    lines += [row([escape(cell) for cell in cells]) for cells in table.rows]
    return [*lines, "", f"<sub>{escape(table.caption)}</sub>"] if table.caption else lines


def _notice(notice: Notice) -> list[str]:
    head = f"- **{escape(notice.code)}** {notice.severity}:"
    parts = [head, *(escape(sentence(t)) for t in (notice.message, *notice.sentences))]
    following = notice.next_step
    if following is not None:
        parts.append(f"Next: {_step(following)}")
    return [" ".join(parts)]
