"""A report in a notebook: one line at a prompt, and a fragment of HTML that keeps to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symdiag.report.renderers.html import article
from symdiag.report.rendering import document_of
from symdiag.report.text import printable

if TYPE_CHECKING:
    from symdiag.report.parts import AnyReport

# Scoped by the class: a notebook is one page with other people's cells. Colours are mid-tones that
# read on light and dark alike, because a notebook's theme need not be the system's.
_STYLE = """
.symdiag{font-size:.95em;line-height:1.45;overflow-wrap:anywhere}
.symdiag h1{font-size:1.05em;margin:.2em 0}.symdiag h2{font-size:1em;margin:1em 0 .3em}
.symdiag .headline{font-weight:600;border-left:.35em solid;padding:.2em .7em}
.symdiag .scroll{overflow-x:auto}.symdiag .n{text-align:right;white-space:nowrap}
.symdiag table{font-variant-numeric:tabular-nums}
.symdiag th,.symdiag td{text-align:left;overflow-wrap:normal}
.symdiag summary h2{display:inline}.symdiag dd{margin:0}
.symdiag dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1em 1em}
.symdiag .caption,.symdiag small{opacity:.75;font-size:.88em}
.symdiag .good,.symdiag .info{color:#1f9d4d}.symdiag .warn,.symdiag .warning{color:#b07a00}
.symdiag .bad,.symdiag .error{color:#d83a3a}.symdiag .muted{color:#7d8794}
.symdiag .notice{margin:.6em 0;padding-left:.7em;border-left:.2em solid #8886}
.symdiag svg{width:100%;height:5em}.symdiag svg .good{fill:#1f9d4d}.symdiag svg .bad{fill:#d83a3a}
.symdiag svg .warn{fill:#b07a00}.symdiag svg .muted,.symdiag svg .plain{fill:#7d8794}
"""


def line(report: Any) -> str:
    """What a report is, of what, and what it says, on one line."""
    document = document_of(report)
    return printable(f"<{report.kind} report of {document.subject}: {document.headline}>")


def html(report: Any) -> str:
    """The report as an element with a style of its own: no script, nothing fetched."""
    return f'<div class="symdiag"><style>{_STYLE}</style>{article(document_of(report))}</div>'


class Reported:
    """Mixin of what a task returns beside its report: it shows itself as the report does.

    A dataclass that inherits it needs ``repr=False``.
    """

    report: AnyReport

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {repr(self.report)[1:-1]}>"

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return html(self.report)

    def _repr_markdown_(self) -> str:
        return self.report._repr_markdown_()
