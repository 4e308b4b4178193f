"""One HTML page by itself: inline style and SVG, nothing fetched, dark and light, printable."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symdiag.report import document as doc
from symdiag.report.text import printable

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".html", ".htm")

_STYLE = """
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--soft:#5b6470;--line:#d5d9e0;--card:#f5f7f9;
--good:#1a7f37;--warn:#8a5a00;--bad:#c62828;--muted:#5f6873;
--data0:#0072b2;--data1:#d55e00;--data2:#009e73;--data3:#cc79a7}
@media(prefers-color-scheme:dark){:root{--fg:#e6e9ee;--bg:#14171c;--soft:#9aa4b2;--line:#343a44;
--card:#1c2027;--good:#4ac26b;--warn:#e0b341;--bad:#ff7b72;--muted:#9aa4b2;
--data0:#56b4e9;--data1:#e69f00}figure image{filter:brightness(1.5)}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:0}
main{max-width:75rem;margin:0 auto;padding:1.2rem 1rem}
h1{font-size:1.3rem;margin:.4rem 0}h2{font-size:1.05rem;margin:0;display:inline}
h1,p,li,dt,dd,.notice,figcaption{overflow-wrap:anywhere}
.headline{font-size:1.15rem;font-weight:600;border-left:.4rem solid;padding:.3rem .8rem;margin:.6rem 0}
.figures{display:flex;flex-wrap:wrap;gap:1rem;margin:1.2rem 0}
figure{flex:1 1 21rem;min-width:0;margin:0;padding:.8rem;border:1px solid var(--line);
border-radius:.4rem}figure.wide{flex-basis:40rem}
.panels{display:flex;flex-wrap:wrap;align-items:start;gap:.8rem}.panels>*{flex:1 1 16rem}.wide .panels>*{max-width:26rem}
figure svg{display:block;width:100%;height:auto;max-width:34rem;margin:auto}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
figcaption{color:var(--soft);font-size:.85rem;margin-top:.5rem}
figcaption strong{color:var(--fg);display:block}
details{border-top:1px solid var(--line);padding:.6rem 0}summary{cursor:pointer;padding:.2rem 0}
.scroll{overflow-x:auto;max-width:100%;background:linear-gradient(90deg,var(--bg) 50%,transparent) 0 0,
linear-gradient(270deg,var(--bg) 50%,transparent) 100% 0,linear-gradient(90deg,var(--line),transparent) 0 0,
linear-gradient(270deg,var(--line),transparent) 100% 0;background-repeat:no-repeat;
background-size:2rem 100%,2rem 100%,.7rem 100%,.7rem 100%;
background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:600}tbody th{min-width:6rem}td.n{text-align:right;white-space:nowrap}th.n{text-align:right}
dl{display:grid;grid-template-columns:fit-content(14rem) minmax(0,1fr);gap:.2rem 1.2rem;
margin:.6rem 0}
dt{color:var(--soft)}dd{margin:0}
@media(max-width:60rem){th,td{padding:.2rem .45rem}tbody th{min-width:5rem}}
@media(max-width:34rem){dl{display:block}dd{margin:0 0 .4rem .8rem}}
code{background:var(--card);padding:.1rem .3rem;border-radius:.2rem}
.w{white-space:nowrap}
code span{display:inline-block;max-width:100%;overflow-wrap:anywhere}
.caption{color:var(--soft);font-size:.85rem;margin:.4rem 0}
.good,.info{color:var(--good)}.warn,.warning{color:var(--warn)}.bad,.error{color:var(--bad)}
.muted{color:var(--muted)}
.notice{margin:.8rem 0;padding-left:.8rem;border-left:.2rem solid var(--line)}
.bars{display:block;width:100%;height:6rem}
.bars .good{fill:var(--good)}.bars .bad{fill:var(--bad)}.bars .warn{fill:var(--warn)}
.bars .muted{fill:var(--muted)}.bars .plain{fill:var(--soft)}
@media print{main{padding:0;max-width:none}.notice,tr,figure{break-inside:avoid}}
"""
# what our own sentences call by its name in a shell
_CODE = re.compile(r"`(symdiag [^`<>]*)`")
_WIDTH = re.compile(r'viewBox="0 0 ([\d.]+)')
# Beyond this a browser lags and nobody reads: the JSON report has every row.
_MAX_BARS = 1024
_MAX_ROWS = 256


def render(entries: Sequence[Entry], options: doc.RenderOptions) -> str:
    """A whole page, every section of every document included."""
    parts = [
        article(entry.document, _figures([entry.report], f"f{k}", options.figures))
        for k, entry in enumerate(entries)
    ]
    reports = [entry.report for entry in entries if entry.report is not None]
    beside = _figures(reports, "all", options.figures) if len(reports) > 1 else ""
    body = "\n".join([beside, *parts] if beside else parts)
    subject = f": {_attribute(entries[0].document.subject)}" if len(entries) == 1 else "s"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>symdiag report{subject}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _attribute(raw: str) -> str:
    # escape quotes both < and "
    return html.escape(printable(raw))


def _text(raw: str) -> str:
    # browsers break lines behind a bar, also within H(g|ω)
    shown = _attribute(raw).replace("(g|ω)", '<span class="w">(g|ω)</span>')
    return _CODE.sub(r"<code>\1</code>", shown)


def _figures(reports: Sequence[Any], prefix: str, most: int) -> str:
    """The first figures of these reports, drawn into the page."""
    # before anything is imported: most callers ask for none, and need no matplotlib
    if not most or not all(reports):
        return ""
    from symdiag.report.figures import find_figure
    from symdiag.report.pictures import inline_svgs, names_of

    drawn = []
    for name in names_of(reports)[:most]:
        figure = find_figure(name)
        panels = inline_svgs(reports, name, f"{prefix}-{name}")
        wide = ' class="wide"' if len(panels) > 1 else ""
        inner = "".join(_panel(f"{figure.title}: {t}" if t else figure.title, s) for t, s in panels)
        caption = f"<strong>{_text(figure.title)}</strong>{_text(figure.reading)}"
        drawn.append(
            f'<figure{wide}><div class="panels">{inner}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    inner = "\n".join(drawn)
    return f'<div class="figures">\n{inner}\n</div>' if drawn else ""


def _panel(title: str, svg: str) -> str:
    # on a narrow screen it scrolls in its box rather than shrink beyond reading
    least = f"min-width:{0.8 * float(_WIDTH.findall(svg)[0]):.0f}px"
    # a picture to those who listen; the numbers are in the tables
    named = f'<svg role="img" aria-label="{_attribute(title)}" style="{least}"'
    return f"<div {_box(title)}>{svg.replace('<svg', named, 1)}</div>"


def article(document: doc.Document, figures: str = "") -> str:
    """One document as an element, without the page and its style: verdict, figures, tables."""
    parts = [
        f"<article>\n<h1>{_text(document.subject)}</h1>",
        f'<p class="headline {document.tone}">{_text(document.headline)}</p>',
        *([figures] if figures else []),
    ]
    for section in document.sections:
        inner = "\n".join(_block(block, section.title) for block in section.blocks)
        # folded rather than left out: a page has room for what a terminal has not
        fold = "" if section.detail else " open"
        title = f"<summary><h2>{_text(section.title)}</h2></summary>"
        parts.append(f"<details{fold}>\n{title}\n{inner}\n</details>")
    return "\n".join([*parts, "</article>"])


def _block(block: doc.Block, title: str) -> str:
    if isinstance(block, doc.Paragraph):
        return f'<p class="{block.tone}">{_text(block.text)}</p>'
    if isinstance(block, doc.Command):
        return f"<p>{_step(block)}</p>"
    if isinstance(block, doc.Facts):
        rows = (f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in block.rows)
        return f"<dl>{''.join(rows)}</dl>"
    if isinstance(block, doc.Bullets):
        return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, doc.Table):
        return _table(block, title)
    if isinstance(block, doc.Bars):
        return _bars(block)
    return _notice(block)


def _step(step: doc.Command | doc.Paragraph) -> str:
    if isinstance(step, doc.Paragraph):
        return _text(step.text)
    purpose = f"{_text(step.purpose)}: " if step.purpose else ""
    # a span a word: a line breaks between words, where a shell would, and not at a path's hyphen
    words = " ".join(f"<span>{_text(word)}</span>" for word in step.text.split(" "))
    return f"{purpose}<code>{words}</code>"


def _table(table: doc.Table, title: str) -> str:
    """A table that scrolls in its own box where the page is narrow, also by the keyboard."""
    kinds = [' class="n"' if column.numeric else "" for column in table.columns]
    head = "".join(
        # a header without words would be read out as one
        f'<th scope="col"{k}>{_text(c.header)}</th>' if c.header else "<td></td>"
        for k, c in zip(kinds, table.columns, strict=True)
    )
    rows = [
        f"<tr>{''.join(map(_cell, kinds, row, itertools.count()))}</tr>"
        for row in table.rows[:_MAX_ROWS]
    ]
    caption = table.caption
    if len(table.rows) > _MAX_ROWS:
        caption = f"{len(table.rows) - _MAX_ROWS} more rows are in the JSON report. {caption}"
    note = f'<p class="caption">{_text(caption)}</p>' if caption else ""
    body = "\n".join(rows)
    inner = f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>"
    return f"<div {_box(title)}><table>{inner}</table></div>{note}"


def _box(title: str) -> str:
    """Attributes of what scrolls by itself: who cannot point must be able to reach it."""
    return f'class="scroll" role="group" tabindex="0" aria-label="{_attribute(title)}"'


def _cell(kind: str, cell: str, column: int) -> str:
    # the first column names its row
    name = 'th scope="row"' if column == 0 else "td"
    return f"<{name}{kind}>{_text(cell)}</{name[:2]}>"


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
    frame = f'{size} preserveAspectRatio="none" role="img" class="bars"'
    drawing = f'<svg {frame} aria-label="{_attribute(chart.caption)}">{shapes}</svg>'
    return f'<p class="caption">{_text(chart.caption)}</p>{drawing}'


def _bar(position: int, bar: doc.Bar) -> str:
    # A bar of value 0 keeps one hundredth, or there would be nothing to hover over.
    height = max(1.0, 100 * min(1.0, max(0.0, bar.value)))
    title = f"<title>{_attribute(f'{bar.label}: {bar.note}')}</title>"
    place = f'x="{10 * position + 1}" y="{100 - height:.1f}" width="8" height="{height:.1f}"'
    return f'<rect class="{bar.tone}" {place}>{title}</rect>'
