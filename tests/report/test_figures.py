"""The room of figures: each draws from a stored report of every kind it names, readable and the same each time.

A new ``figures/NAME.py`` is met here as soon as it exists; its reports are the examples of ``kind_examples``.
"""

import dataclasses
import functools
import importlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from kind_examples import EXAMPLES
from report_examples import HOSTILE, group, report

from symdiag.errors import UsageError
from symdiag.report import from_dict
from symdiag.report.codec import to_object
from symdiag.report.figures import (
    figure_names,
    file_label,
    find_figure,
    panels_of,
    style_of,
    subjects,
    theme_names,
)
from symdiag.report.kinds import kind_names
from symdiag.report.pictures import ON_A_PAGE, PICTURE_FORMATS, inline_svgs, names_of, picture

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def stored(made):
    """A report as ``symdiag report`` sees it: from JSON, with nothing else left of its run."""
    return from_dict(json.loads(json.dumps(to_object(made), allow_nan=False)))


@functools.cache
def shown(name, kind):
    """The reports to draw: the first example of a kind that the figure has something to show of."""
    examples = [stored(e) for e in EXAMPLES[kind]]
    many = find_figure(name).of_many
    sets = [examples[:1] * 2, *(examples[i : i + 2] for i in range(len(examples)))]
    choices = sets if many else [[e] for e in examples]
    return next((c for c in choices if panels_of(name, c)), None)


CASES = [(name, kind) for name in figure_names() for kind in find_figure(name).kinds]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_gallery(name, kind):
    """Text is text, axes say what they measure, the file is named, colours are the theme's own."""
    reports = shown(name, kind)
    assert reports is not None, f"no example of {kind} in tests/report/kind_examples shows {name}"
    svg = picture(reports, "svg", name).decode()
    words = words_of(svg)
    assert find_figure(name).title in words
    assert any(word.startswith(file_label(subjects(reports[0])[0])) for word in words)
    assert all(label in words for label in axis_labels(name, reports))
    assert not any("nan" in word.split() for word in words)
    if name == min(n for n, k in CASES if k == kind):
        assert picture(reports, "svg", name).decode() == svg


@pytest.mark.parametrize("kind", sorted({kind for _, kind in CASES}))
def test_a_report_that_is_drawn_names_its_files(kind):
    for example in EXAMPLES[kind]:
        assert subjects(example)
        assert all(isinstance(path, str) and path for path in subjects(example))


def words_of(svg):
    return [" ".join("".join(t.itertext()).split()) for t in ET.fromstring(svg).iter(f"{SVG}text")]


def axis_labels(name, reports):
    from matplotlib.figure import Figure

    labels = []
    for panel in panels_of(name, reports):
        axes = Figure().add_subplot()
        panel.draw(axes, style_of("light"))
        assert axes.get_xlabel()
        assert axes.get_ylabel() or axes.get_yticklabels()
        assert panel.height > 0.5
        labels += [t for t in (axes.get_xlabel(), axes.get_ylabel()) if t]
    return labels


@pytest.mark.parametrize("name", figure_names())
def test_a_figure_says_what_it_is_and_how_to_read_it(name):
    figure = find_figure(name)
    assert figure.title[0].isupper()
    assert figure.reading.endswith(".")
    assert set(figure.kinds) <= set(kind_names())
    ranks = [find_figure(other).rank for other in figure_names()]
    assert len(set(ranks)) == len(ranks), "two figures claim one place"


def test_every_kind_of_report_on_a_posterior_has_a_figure():
    shown = {kind for name in figure_names() for kind in find_figure(name).kinds}
    assert shown == set(kind_names()) - {"doctor"}  # an installation has nothing to draw


def test_the_gallery_in_the_docs_shows_every_figure():
    page = (ROOT / "docs/figures.md").read_text("utf-8")
    assert set(re.findall(r"^`(\w+)`, of ", page, re.M)) == set(figure_names())
    for name in figure_names():
        assert find_figure(name).reading in page, "python .ci/write_figures.py"
        assert f"\n## {find_figure(name).title}\n" in page, "python .ci/write_figures.py"


def test_the_pictures_in_the_docs_are_those_of_the_stored_reports():
    """By their words, for coordinates move with matplotlib's versions."""
    sys.path.insert(0, str(ROOT / ".ci"))
    try:
        writer = importlib.import_module("write_figures")
    finally:
        sys.path.pop(0)
    for path, made in writer.drawn().items():
        if path.suffix == ".svg":
            assert words_of(path.read_bytes()) == words_of(made), f"{path.name}: write_figures.py"


def test_a_report_without_figures_says_which_there_are():
    with pytest.raises(UsageError, match="nothing that the figure") as caught:
        report().plot("rhat")
    assert "confusion" in caught.value.hint
    with pytest.raises(UsageError, match="unknown figure"):
        report().plot("horoscope")
    with pytest.raises(UsageError, match="unknown theme"):
        report().plot(theme="neon")


def test_the_default_page_is_made_of_the_first_figures():
    page = report().plot()
    titles = [part.get_suptitle() for part in page.subfigs]
    assert titles == [find_figure(name).title for name in names_of([report()])[:ON_A_PAGE]]
    assert "model.pt" in page.get_suptitle()


def test_axes_of_ones_own_are_drawn_on_and_nothing_else_is():
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    made = report(names=("fc1", "fc2"))
    assert made.plot("confusion", axes=(left, right)) is figure
    assert [axes.get_title() for axes in (left, right)] == ["fc1: 4 units", "fc2: 4 units"]
    assert pyplot.get_fignums() == []
    with pytest.raises(UsageError, match="panels"):
        made.plot("confusion", axes=[left] * 3)


def test_confusion_is_ordered_by_cluster():
    """Rows and columns follow the clusters, so that units which exchange stand side by side."""
    order = importlib.import_module("symdiag.report.figures.confusion").order
    made = group(width=5)
    clusters = tuple(
        dataclasses.replace(c, neurons=n)
        for c, n in zip(made.clusters, [(1, 4), (0, 3)], strict=True)
    )
    made = dataclasses.replace(made, clusters=clusters)
    assert order(made) == [1, 4, 0, 3, 2]
    # a damaged report that names a unit twice, or one that is not there
    broken = dataclasses.replace(clusters[0], neurons=(1, 1, 99))
    assert order(dataclasses.replace(made, clusters=(broken,))) == [1, 0, 2, 3, 4]


def test_hostile_names_neither_break_out_nor_are_set_as_formulas():
    made = report(path=f"{HOSTILE}$x^2$.pt", names=("$\\frac{fc1}$", HOSTILE))
    for name in names_of([made]):
        root = ET.fromstring(picture([made], "svg", name))
        assert not list(root.iter(f"{SVG}script"))
    words = "".join(root.itertext())
    assert "\x1b" not in words
    assert "$" in words


def test_inline_figures_take_the_colours_of_their_page():
    ((_, svg),) = inline_svgs([report()], "layers", "f1")
    for color in (*dataclasses.astuple(style_of("light"))[:4], style_of("light").data[0]):
        assert color not in svg
    assert "var(--fg)" in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert all(i.startswith("f1-") for i in ids)
    assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(ids)


@pytest.mark.parametrize("theme", theme_names())
def test_colours_stand_out_from_the_paper(theme):
    """WCAG contrast: 3:1 for marks, 4.5:1 for text."""
    style = style_of(theme)
    assert all(contrast(color, style.paper) >= 3.0 for color in style.data[:3])
    assert contrast(style.ink, style.paper) >= 4.5
    assert contrast(style.soft, style.paper) >= 4.5


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_files_begin_as_their_formats_do():
    heads = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    assert set(heads) == set(PICTURE_FORMATS)
    for format, head in heads.items():
        assert picture([report()], format, "layers", theme="dark").startswith(head)
    assert b"CreationDate" not in picture([report()], "pdf", "layers")


def test_naming_the_figures_of_a_report_loads_no_matplotlib():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from report_examples import report; from symdiag.report.pictures import names_of\n"
        "assert names_of([report()]); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
