"""How an object shows itself in a notebook and at a prompt: one line, and a small table.

Reports show themselves whole (``symdiag.report.parts``); this is for what they are made from.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from symdiag.errors import one_line

_MAX_ROWS = 12
# what Markdown gives a meaning to; names of tensors have underscores and stars
_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@<>&])")


@dataclass(frozen=True)
class SmallTable:
    """A line that says what it is, column headers, and rows of strings."""

    line: str
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()

    @property
    def shown(self) -> list[tuple[str, ...]]:
        """The first rows, and one that counts the rest."""
        rows = list(self.rows[:_MAX_ROWS])
        if len(self.rows) > _MAX_ROWS:
            rest = f"… {len(self.rows) - _MAX_ROWS} more"
            rows.append((rest, *[""] * (len(self.columns) - 1)))
        return rows

    def html(self) -> str:
        """A fragment for a page that has its own style."""
        head = f"<p><code>{html.escape(one_line(self.line))}</code></p>"
        if not self.columns:
            return head
        lines = [_html_row("th", self.columns), *(_html_row("td", row) for row in self.shown)]
        return f"{head}<table>{''.join(lines)}</table>"

    def markdown(self) -> str:
        """The same as GitHub's Markdown."""
        head = _escaped(self.line)
        if not self.columns:
            return head
        rows = [self.columns, ("---",) * len(self.columns), *self.shown]
        # the rule stays as it is: its dashes are no text
        lines = (
            "| " + " | ".join(row if i == 1 else map(_escaped, row)) + " |"
            for i, row in enumerate(rows)
        )
        return head + "\n\n" + "\n".join(lines)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    inner = "".join(f"<{tag}>{html.escape(one_line(cell))}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", one_line(text))


class Shown:
    """Mixin: ``repr`` is the line of ``_small_table``, a notebook shows the table below it.

    A dataclass that inherits it needs ``repr=False``.
    """

    def _small_table(self) -> SmallTable:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{one_line(self._small_table().line)}>"

    def _repr_html_(self) -> str:
        return self._small_table().html()

    def _repr_markdown_(self) -> str:
        return self._small_table().markdown()


def shape_text(shape: Sequence[int]) -> str:
    """``20 x 1`` for (20, 1), ``scalar`` for ()."""
    return " x ".join(map(str, shape)) or "scalar"
