"""HTML reports as pages: accessible and self-contained by their markup, and in a browser at every width."""

import itertools
import re
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Browser, chromium
from kind_examples import EXAMPLES
from report_examples import HOSTILE, report, wide_report

from symdiag.errors import SymdiagError
from symdiag.report import Failure, RenderOptions, render_all
from symdiag.report.kinds import kind_names
from symdiag.report.reading import read_reports

REPORTS = Path(__file__).parents[2] / "docs/reports"
VOID = {"meta", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Elements in order as (tag, attributes), and the text of headings."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def all(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]


def assert_accessible(text):
    """What WCAG asks of markup alone."""
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main", "title")) >= 2
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert all(attrs.get("alt") is not None for attrs in page.all("img"))
    assert all(a["role"] == "img" and a["aria-label"] for a in page.all("svg"))
    boxes = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-label"] and a["role"] for a in boxes)
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(set(identifiers)) == len(identifiers)
    assert 'name="viewport"' in text


def assert_self_contained(text):
    """No script, nothing that a browser would fetch."""
    page = Page(text)
    assert not page.all("script", "link", "iframe", "object", "base", "form")
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    links = [a[n] for _, a in page.elements for n in ("href", "src", "xlink:href") if n in a]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text


@pytest.mark.parametrize("kind", kind_names())
def test_a_page_of_any_kind_is_accessible_and_self_contained(kind):
    for example in EXAMPLES[kind]:
        text = render_all([example], "html")
        assert_accessible(text)
        assert_self_contained(text)


def test_a_page_with_figures_is_too():
    made = report(path=HOSTILE, names=("fc1",))
    failure = Failure("x.pt", SymdiagError("broken"))
    text = render_all([made, failure], "html", RenderOptions(figures=3))
    assert_accessible(text)
    assert_self_contained(text)
    assert text.index("headline") < text.index("<figure") < text.index("<table>")
    assert text.count("<figure") == 3


def test_several_reports_are_set_side_by_side_first():
    text = render_all([report(), report("ok", path="b.pt")], "html", RenderOptions(figures=1))
    assert text.count("<figure") == 3
    assert text.index("Straddling entropy by file") < text.index("<h1>model.pt")
    assert_self_contained(text)


# ---------------------------------------------------------------- in a browser

OUTSIDE = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg')
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(e => e.tagName + ': ' + e.textContent.slice(0, 60))"""
# a cell is cut where its text needs more room than it has; a word is broken where it alone is
# wider than what holds it
CUT = """[...document.querySelectorAll('th, td')].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.slice(0, 60))"""
BROKEN = """[...document.querySelectorAll('th, td:not(.n)')].filter(e => {
    const words = e.textContent.split(/[\\s/_.:=,-]+/), style = getComputedStyle(e);
    const pen = document.createElement('canvas').getContext('2d');
    pen.font = style.font;
    const room = e.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return words.some(w => pen.measureText(w).width > room + 1)
  }).map(e => e.textContent.slice(0, 60))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium() is None:
        pytest.skip("needs Chromium")
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def pages():
    yield from ((path.stem, read_reports(path)) for path in sorted(REPORTS.glob("*.json")))
    yield (
        "several",
        [r for name in ("straddled", "deep") for r in read_reports(REPORTS / f"{name}.json")],
    )
    yield "wide", [wide_report()]
    yield "hostile", [EXAMPLES["analyze"][5]]
    # kinds without a stored report
    yield "doctor", EXAMPLES["doctor"][:1]
    yield "evidence", EXAMPLES["evidence"][:1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reports"), [pytest.param(*p, id=p[0]) for p in pages()])
def test_a_page_fits_any_screen(browser, name, reports, tmp_path):
    """At 360, 768 and 1440 px, light and dark: no scrolling of the page, nothing cut, nothing fetched."""
    path = tmp_path / "page.html"
    path.write_text(render_all(reports, "html", RenderOptions(figures=3)), "utf-8")
    papers = set()
    for width, scheme in itertools.product((360, 768, 1440, 1600), ("light", "dark")):
        browser.show(path, width, scheme)
        # folded parts have to fit as well
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(OUTSIDE) == []
        assert browser.evaluate(CUT) == []
        assert browser.evaluate(BROKEN) == [] or name == "hostile"
        papers.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        methods = [event.get("method") for event in browser.events]
        assert not {"Log.entryAdded", "Runtime.exceptionThrown"} & set(methods)
        fetched = [
            e["params"]["request"]["url"]
            for e in browser.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        assert all(url == path.as_uri() or url.startswith("data:") for url in fetched)
    assert len(papers) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reports"), [pytest.param(*p, id=p[0]) for p in pages()])
def test_axe_finds_nothing(browser, name, reports, tmp_path):
    """Contrast, names, roles, order: the rules of axe-core, on a telephone and a screen, light and dark."""
    found = find_spec("axe_core_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-core-python")
    axe = Path(found.origin).with_name("axe.min.js").read_text("utf-8")
    path = tmp_path / "page.html"
    path.write_text(render_all(reports, "html", RenderOptions(figures=3)), "utf-8")
    for width, scheme in itertools.product((360, 1440), ("light", "dark")):
        browser.show(path, width, scheme)
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        browser.evaluate(f"{axe}; 0")
        violations = browser.evaluate(
            "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))"
        )
        assert violations == []
        assert browser.evaluate("axe.run().then(r => r.passes.length)") > 5
