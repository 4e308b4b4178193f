"""Reports as rows, and in a notebook: every number of the JSON, for every kind, and nothing that is not text."""

import csv
import dataclasses
import io
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kind_examples import EXAMPLES
from report_examples import HOSTILE, hostile_report, report

from symdiag.errors import SymdiagError
from symdiag.estimate import Estimate
from symdiag.report import render
from symdiag.report.kinds import kind_names
from symdiag.report.records import rows, scalars, summary

ROOT = Path(__file__).resolve().parents[2]
CASES = [
    pytest.param(made, id=f"{kind}-{i}")
    for kind in kind_names()
    for i, made in enumerate(EXAMPLES.get(kind, ()))
]


def numbers(value):
    """Every float of a report but those of brackets and of ``run``, by walking the dataclasses."""
    if isinstance(value, Estimate):
        yield from (value.value, value.lower, value.upper)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.name != "run":
                yield from numbers(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, dict):
        yield from numbers(tuple(value.values()))
    elif isinstance(value, float):
        yield value


def flat(cells):
    for cell in cells:
        yield from flat(cell) if isinstance(cell, tuple) else (cell,)


@pytest.mark.parametrize("made", CASES)
def test_every_number_of_a_report_stands_in_one_of_its_tables(made):
    found = {
        cell
        for table in made.tables
        for row in rows(made, table)
        for cell in flat(row.values())
        if isinstance(cell, float)
    }
    assert set(numbers(made)) <= found


@pytest.mark.parametrize("made", CASES)
def test_csv_holds_the_rows(made):
    for table in made.tables:
        read = list(csv.DictReader(io.StringIO(made.to_csv(table=table))))
        expected = rows(made, table)
        assert len(read) == len(expected)
        for line, row in zip(read, expected, strict=True):
            for key, value in row.items():
                if isinstance(value, float):
                    assert float(line[key]) == value
                if value is None:
                    assert line[key] == ""


def test_rows_of_units_name_their_group_and_summaries_hold_what_is_said_once():
    made = report()
    units = rows(made, "neurons")
    assert [row["group"] for row in units] == ["fc1"] * 4 + ["fc2"] * 4
    assert [row["retention"] for row in units[:4]] == [n.retention for n in made.groups[0].neurons]
    said = summary(made)
    assert said["verdict"] == made.verdict
    assert said["total_straddling_entropy"] == made.total.straddling_entropy.value
    assert said["total_straddling_entropy_upper"] == made.total.straddling_entropy.upper
    assert said["model_path"] == "model.pt"
    assert "run_seconds" not in said


def test_fields_side_by_side_are_rows():
    made = EXAMPLES["retrain"][0]
    frame = rows(made)  # the main table
    present = [f for f in (made.before, made.control, made.retrained) if f is not None]
    assert [row["name"] for row in frame] == [f.name for f in present]
    assert [row["elbo"] for row in frame] == [f.elbo.value for f in present]


def test_scalars_are_finite_numbers_and_name_their_group():
    made = report()
    found = scalars(made)
    assert found["groups/fc1/straddling_entropy"] == 3.2
    assert found["total_straddling_entropy"] == 6.4
    for kind in kind_names():
        for example in EXAMPLES[kind]:
            assert all(math.isfinite(value) for value in scalars(example).values())
    assert not [key for key in found if key.startswith("settings")]


def test_a_name_is_no_formula():
    made = report(path="=HYPERLINK(1)")
    (line,) = csv.DictReader(io.StringIO(made.to_csv(table="summary")))
    assert line["model_path"] == "'=HYPERLINK(1)"


def test_a_data_frame_has_the_rows(tmp_path):
    pandas = pytest.importorskip("pandas")
    made = report()
    frame = made.to_dataframe("neurons")
    assert list(frame["retention"]) == [n.retention for g in made.groups for n in g.neurons]
    assert list(made.to_dataframe().columns) == list(rows(made)[0])
    many = pandas.concat([made.to_dataframe("summary"), made.to_dataframe("summary")])
    assert list(many["verdict"]) == [made.verdict] * 2


def test_without_pandas_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SymdiagError) as caught:
        report().to_dataframe()
    assert caught.value.code == "missing-extra"
    assert "pip install pandas" in caught.value.hint


def test_an_unknown_table_is_refused_with_those_there_are():
    with pytest.raises(SymdiagError) as caught:
        report().to_csv(table="unit")
    assert caught.value.code == "bad-option"
    assert "neurons" in caught.value.hint


def test_csv_is_written_once_and_never_over_a_file(tmp_path):
    made, path = report(), tmp_path / "groups.csv"
    assert made.to_csv(path) == path.read_text("utf-8")
    with pytest.raises(SymdiagError) as caught:
        made.to_csv(path)
    assert caught.value.code == "exists"


# ---------------------------------------------------------------- shown


@pytest.mark.parametrize("made", CASES)
def test_print_is_the_text_report_and_repr_one_line(made):
    assert str(made) == render(made, "text")
    assert made._repr_markdown_() == render(made, "markdown")
    assert repr(made).startswith(f"<{made.kind} report of ")
    assert "\n" not in repr(made)
    assert repr(made).isprintable()


class Tags(HTMLParser):
    """Tags seen, and whether each was closed in order."""

    VOID = frozenset({"br", "meta", "rect", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("made", [*CASES, pytest.param(hostile_report(), id="hostile")])
def test_a_notebook_gets_a_closed_fragment_that_keeps_to_itself(made):
    text = made._repr_html_()
    tags = Tags(text)
    assert not tags.open
    assert not tags.seen & {"script", "html", "body", "iframe", "link"}
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    selectors = [s.strip() for rule in style.split("}") for s in rule.split("{")[0].split(",")]
    assert all(s.startswith(".symdiag") for s in selectors if s)
    assert HOSTILE not in text


def test_showing_a_report_needs_neither_torch_nor_pandas():
    code = (
        "import json, sys\nfrom symdiag.report import from_dict\n"
        "made = from_dict(json.load(sys.stdin))\n"
        "str(made), made._repr_html_(), made._repr_markdown_(), made.to_csv()\n"
        "print({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=render(report(), "json"), cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "set()"
