"""One HTML page by itself: inline style and SVG, nothing fetched, dark and light, printable."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from symdiag.report import document as doc
from symdiag.report.text import printable

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".html", ".htm")

_STYLE = """
:root{--fg:#1b1f24;--bg:#fff;--soft:#667;--line:#d5d9e0;
--good:#1a7f37;--warn:#9a6700;--bad:#c62828;--muted:#8a93a0}
@media(prefers-color-scheme:dark){:root{--fg:#e6e9ee;--bg:#14171c;--soft:#9aa4b2;--line:#343a44;
--good:#4ac26b;--warn:#e0b341;--bad:#ff7b72;--muted:#7d8794}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:60rem;
margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:1.8rem}
.headline{font-size:1.1rem;font-weight:600;border-left:.4rem solid;padding:.3rem .8rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:600}.n{text-align:right;white-space:nowrap}
.caption,small{color:var(--soft);font-size:.85rem}
.good,.info{color:var(--good)}.warn,.warning{color:var(--warn)}.bad,.error{color:var(--bad)}
.muted{color:var(--muted)}
.notice{margin:.8rem 0;padding-left:.8rem;border-left:.2rem solid var(--line)}
svg{display:block;width:100%;height:6rem}
svg .good{fill:var(--good)}svg .bad{fill:var(--bad)}svg .warn{fill:var(--warn)}
svg .muted{fill:var(--muted)}svg .plain{fill:var(--soft)}
@media print{body{margin:0;max-width:none}.notice,tr{break-inside:avoid}details{display:block}}
"""
# Beyond this a browser lags and nobody reads: the JSON report has every row.
_MAX_BARS = 1024
_MAX_ROWS = 256


def render(entries: Sequence[Entry], options: doc.RenderOptions) -> str:
    """A whole page, every section of every document included."""
    body = "\n".join(article(entry.document) for entry in entries)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>symdiag "
        f"report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _text(raw: str) -> str:
    # escape quotes both < and ": the same text goes into elements and attributes
    return html.escape(printable(raw))


def article(document: doc.Document) -> str:
    """One document as an element, without the page and its style."""
    parts = [
        f"<article>\n<h1>{_text(document.subject)}</h1>",
        f'<p class="headline {document.tone}">{_text(document.headline)}</p>',
    ]
    for section in document.sections:
        inner = "\n".join(_block(block) for block in section.blocks)
        # folded rather than left out: a page has room for what a terminal has not
        if section.detail:
            parts.append(
                f"<details>\n<summary>{_text(section.title)}</summary>\n{inner}\n</details>"
            )
        else:
            parts.append(f"<section>\n<h2>{_text(section.title)}</h2>\n{inner}\n</section>")
    return "\n".join([*parts, "</article>"])


def _block(block: doc.Block) -> str:
    if isinstance(block, doc.Paragraph):
        return f'<p class="{block.tone}">{_text(block.text)}</p>'
    if isinstance(block, doc.Command):
        return f"<p>{_step(block)}</p>"
    if isinstance(block, doc.Facts):
        rows = "".join(
            f"<tr><th>{_text(label)}</th><td>{_text(value)}</td></tr>"
            for label, value in block.rows
        )
        return f"<table>{rows}</table>"
    if isinstance(block, doc.Bullets):
        return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, doc.Table):
        return _table(block)
    if isinstance(block, doc.Bars):
        return _bars(block)
    return _notice(block)


def _step(step: doc.Command | doc.Paragraph) -> str:
    if isinstance(step, doc.Paragraph):
        return _text(step.text)
    purpose = f"{_text(step.purpose)}: " if step.purpose else ""
    return f"{purpose}<code>{_text(step.text)}</code>"


def _table(table: doc.Table) -> str:
    kinds = ['class="n"' if column.numeric else "" for column in table.columns]
    head = "".join(
        f"<th {k}>{_text(c.header)}</th>" for k, c in zip(kinds, table.columns, strict=True)
    )
    rows = [
        "<tr>"
        + "".join(f"<td {k}>{_text(cell)}</td>" for k, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in table.rows[:_MAX_ROWS]
    ]
    caption = table.caption
    if len(table.rows) > _MAX_ROWS:
        caption = f"{len(table.rows) - _MAX_ROWS} more rows are in the JSON report. {caption}"
    note = f'<p class="caption">{_text(caption)}</p>' if caption else ""
    body = "\n".join(rows)
    inner = f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>{note}'


def _notice(notice: doc.Notice) -> str:
    code = f"{_text(notice.code)} {notice.severity}"
    lines = [f'<strong class="{notice.severity}">{code}</strong> {_text(notice.message)}']
    lines += [_text(t) for t in notice.sentences]
    following = notice.next_step
    if following is not None:
        lines.append(f"Next: {_step(following)}")
    return f'<div class="notice">{"<br>".join(lines)}</div>'


def _bars(chart: doc.Bars) -> str:
    """Bars from 0 to 1, side by side; hovering one shows its label and note."""
    # the table beside the chart has the rest, up to its own limit
    bars = chart.bars[:_MAX_BARS]
    shapes = "".join(_bar(position, bar) for position, bar in enumerate(bars))
    size = f'viewBox="0 0 {10 * len(bars)} 100" style="max-width:{1.5 * len(bars):g}rem"'
    # Stretched to any width: bars carry no text that could be distorted.
    frame = f'{size} preserveAspectRatio="none" role="img"'
    caption = _text(chart.caption)
    drawing = f'<svg {frame} aria-label="{caption}">{shapes}</svg>'
    return f'<p class="caption">{caption}</p>{drawing}'


def _bar(position: int, bar: doc.Bar) -> str:
    # A bar of value 0 keeps one hundredth, or there would be nothing to hover over.
    height = max(1.0, 100 * min(1.0, max(0.0, bar.value)))
    title = f"<title>{_text(f'{bar.label}: {bar.note}')}</title>"
    place = f'x="{10 * position + 1}" y="{100 - height:.1f}" width="8" height="{height:.1f}"'
    return f'<rect class="{bar.tone}" {place}>{title}</rect>'
