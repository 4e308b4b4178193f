"""Every format: complete, escaped, within its width; and the JSON contract."""

import dataclasses
import itertools
import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kind_examples import EXAMPLES
from report_examples import (
    HOSTILE,
    VERDICTS,
    estimate,
    finding,
    hostile_report,
    report,
    wide_report,
)

from symdiag.errors import SymdiagError, UnreadableError, UsageError
from symdiag.report import (
    Failure,
    RenderOptions,
    format_names,
    format_of,
    from_dict,
    render,
    render_all,
)
from symdiag.report.codec import to_object
from symdiag.report.document import Column, Document, Section, Table
from symdiag.report.renderers import format_module
from symdiag.report.rendering import Entry, document_of
from symdiag.report.schemas import schema_text

HUMAN = ("console", "text", "markdown")
FULL = RenderOptions(detail=2)


def test_every_format_of_the_contract_exists():
    assert set(format_names()) >= {"console", "text", "json", "markdown", "junit", "github", "html"}


@pytest.mark.parametrize(
    ("verdict", "word"),
    list(zip(VERDICTS, ("OK", "STRADDLING", "INCONCLUSIVE", "NOT"), strict=True)),
)
@pytest.mark.parametrize("name", HUMAN)
def test_the_verdict_leads(name, verdict, word):
    head = "\n".join(render(report(verdict), name).splitlines()[:3])
    assert re.search(rf"\b{word}\b", head)


# ---------------------------------------------------------------- what every format owes, a new one too

EVERY = [example for kind in sorted(EXAMPLES) for example in EXAMPLES[kind]]
FAILURE = Failure("x.pt", SymdiagError("broken", code="corrupt", hint="again"))
COVERAGE = ("output units have fixed labels", "layers form a chain", "noise buffer")
SGR = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize("name", format_names())
class TestFormat:
    def test_every_report_renders_safely_at_every_detail(self, name):
        for example in EVERY:
            for detail in (0, 1, 2):
                text = render(example, name, RenderOptions(detail=detail))
                assert text.endswith("\n")
                assert_well_formed(text, name)

    def test_verdict_and_subject_are_always_there(self, name):
        for verdict in VERDICTS:
            text = render(report(verdict), name, RenderOptions(detail=0))
            assert "model.pt" in text
            assert re.search(verdict.split("-")[0], text, re.IGNORECASE)

    def test_findings_are_there(self, name):
        made = report(findings=(finding(), finding(code="SYM003", severity="info")))
        text = render(made, name)
        assert "SYM001" in text
        assert "SYM003" in text
        assert "equivalent modes overlap" in text

    def test_coverage_and_assumptions_are_there(self, name):
        """No format may leave out what the figures do not cover (the contract of every report)."""
        text = re.sub(r"\s+", " ", render(report(), name))
        for fact in (*COVERAGE, "110", "120"):
            assert fact in text, fact

    def test_a_failure_keeps_its_code_message_and_hint(self, name):
        text = render(FAILURE, name)
        for fact in ("corrupt", "broken", "again"):
            assert fact in text
        assert_well_formed(text, name)

    def test_several_reports_are_one_document_with_all_of_them(self, name):
        text = render_all([report(path="first.pt"), FAILURE, report("ok", path="third.pt")], name)
        for path in ("first.pt", "x.pt", "third.pt"):
            assert path in text
        assert_well_formed(text, name)
        assert_well_formed(render_all([], name), name)

    def test_colour_adds_escape_sequences_at_most_and_only_when_asked(self, name):
        plain, coloured = (render(report(), name, RenderOptions(color=c)) for c in (False, True))
        assert "\x1b" not in plain
        # Colour lets a terminal draw a rule under headings; words and numbers stay.
        assert SGR.sub("", coloured).split() == plain.split()

    def test_its_extensions_mean_it(self, name):
        for extension in format_module(name).EXTENSIONS:
            assert format_of(f"report{extension}") == name


def test_quiet_shows_the_verdict_only():
    text = render(report(), "text", RenderOptions(detail=0))
    assert "STRADDLING" in text
    assert "fc1" not in text


def test_verbose_shows_every_neuron_and_the_settings():
    normal, full = (
        render(report("ok", findings=()), "text"),
        render(report("ok", findings=()), "text", FULL),
    )
    assert "subset-dp" not in normal
    assert "subset-dp" in full


# ---------------------------------------------------------------- JSON contract


def validator(name):
    return jsonschema.Draft202012Validator(json.loads(schema_text(name)))


def test_non_finite_numbers_are_null_and_come_back():
    endless = dataclasses.replace(estimate(1.0), lower=-math.inf, upper=math.inf)
    total = dataclasses.replace(report().total, straddling_entropy=endless)
    made = dataclasses.replace(report(), total=total)
    text = render(made, "json")
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    shown = json.loads(text)["total"]["straddling_entropy"]
    assert (shown["lower"], shown["upper"], shown["status"]) == (None, None, "unbounded")
    validator("analyze").validate(json.loads(text))
    assert from_dict(json.loads(text)) == made


def test_nan_is_refused_rather_than_printed():
    with pytest.raises(ValueError, match="JSON compliant"):
        render({**to_object(report()), "run": {"seconds": math.nan}}, "json")


def test_several_reports_are_one_object():
    bad = Failure("x.pt", SymdiagError("broken", code="corrupt", hint="again"))
    data = json.loads(render_all([report(), bad], "json"))
    validator("list").validate(data)
    assert data["reports"][0]["verdict"] == "straddling"
    assert data["reports"][1] == {
        "schema_version": 1,
        "path": "x.pt",
        "error": {"code": "corrupt", "message": "broken", "hint": "again"},
    }


def test_a_lone_error_is_exactly_the_contract():
    data = json.loads(
        render(Failure("x.pt", SymdiagError("broken", code="corrupt", hint="again")), "json")
    )
    assert data == {
        "schema_version": 1,
        "error": {"code": "corrupt", "message": "broken", "hint": "again"},
    }
    validator("error").validate(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version 2"),
        ({"schema_version": None}, "schema_version None"),
        ({"kind": "horoscope"}, "horoscope"),
        ({"verdict": "fine"}, "report.verdict: invalid enum value 'fine'"),
        ({"groups": {}}, "report.groups: expected `array`, got `object`"),
        ({"total": 3}, "report.total: expected `object`, got `int`"),
        (
            {"settings": {"seed": "0", "samples": 1, "estimator": "x", "max_straddling": 1.0}},
            "settings.seed",
        ),
        (
            {"settings": {"seed": True, "samples": 1, "estimator": "x", "max_straddling": 1.0}},
            "settings.seed",
        ),
    ],
)
def test_malformed_reports_are_refused_with_the_place(change, message):
    with pytest.raises(UnreadableError, match=re.escape(message)) as caught:
        from_dict({**to_object(report()), **change})
    assert caught.value.code == "bad-report"


# ---------------------------------------------------------------- hostile names


def assert_inert(text, *, own_commands=False):
    """Nothing a terminal or a CI system would obey."""
    for char in text:
        assert char == "\n" or ord(char) >= 32, repr(char)
        assert char not in "\u202e\u2028\u0085\u200b\ufeff"
    if not own_commands:
        assert not [line for line in text.splitlines() if line.lstrip().startswith(("::", "##["))]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.open = set(), []

    def handle_starttag(self, tag, attrs):
        self.seen |= {tag, *(name for name, _ in attrs)}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "article",
        "h1",
        "h2",
        "p",
        "main",
        "dl",
        "dt",
        "dd",
        "details",
        "summary",
    ),
    *(
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "div",
        "strong",
        "br",
        "code",
        "svg",
        "rect",
        "span",
    ),
    *(
        "lang",
        "charset",
        "name",
        "content",
        "class",
        "viewbox",
        "preserveaspectratio",
        "role",
        "aria-label",
        "scope",
        "tabindex",
        "open",
    ),
    *("x", "y", "width", "height"),
}


def check_html(text):
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert tags.seen <= ALLOWED
    assert tags.open == []


# What a reader of the format demands beyond what every format owes.
WELL_FORMED = {"json": json.loads, "junit": ET.fromstring, "html": check_html}


def assert_well_formed(text, name):
    WELL_FORMED.get(name, str)(text)
    assert_inert(text, own_commands=getattr(format_module(name), "WORKFLOW_COMMANDS", False))


@settings(max_examples=60, deadline=None)
@given(name=st.text(st.characters(codec=None), max_size=30), path=st.text(max_size=20))
def test_any_name_is_harmless_in_every_format(name, path):
    made = report(
        path=path, names=(name,), findings=(finding(group=name, message=name, hint=name),)
    )
    for format in format_names():
        text = render(made, format, FULL)
        assert_well_formed(text, format)
        text.encode("utf-8")


@pytest.mark.parametrize("name", ["html", "markdown"])
def test_no_markup_of_a_name_survives(name):
    assert "<script" not in re.sub(r"(`+).*?\1", "", render(hostile_report(), name, FULL))


def test_the_hostile_name_stays_legible():
    text = render(hostile_report(), "markdown")
    assert "\\x1b" in text.replace("\\\\", "\\")
    assert json.loads(render(hostile_report(), "json"))["groups"][0]["name"] == HOSTILE


def test_markdown_tables_keep_their_columns():
    lines = render(hostile_report(), "markdown", FULL).splitlines()
    tables = [
        list(rows)
        for is_row, rows in itertools.groupby(lines, lambda line: line.startswith("|"))
        if is_row
    ]
    assert len(tables) >= 4
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize(
    "made", [report(), hostile_report(), wide_report(), report("not-applicable")]
)
@pytest.mark.parametrize("name", ["text", "console"])
def test_nothing_is_wider_than_80_columns(name, made):
    for line in render(made, name, FULL).splitlines():
        assert len(line) <= 80, line


READABLE = [e for e in EVERY if "owned" not in json.dumps(to_object(e))]


def words_of_tables(example):
    blocks = [b for s in document_of(example).sections for b in s.blocks if isinstance(b, Table)]
    cells = [c.header for b in blocks for c in b.columns]
    cells += [cell for b in blocks for row in b.rows for cell in row]
    return {word for cell in cells for word in re.findall(r"[A-Za-z]{3,20}", cell)}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["text", "console"])
def test_no_word_of_a_table_is_broken(name, width):
    for example in READABLE:
        text = render(example, name, RenderOptions(detail=2, width=width))
        assert all(len(line) <= width for line in text.splitlines() if "symdiag " not in line)
        shown = set(re.findall(r"[A-Za-z]+", text))
        assert words_of_tables(example) <= shown, words_of_tables(example) - shown


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["text", "console"])
def test_words_and_numbers_stay_whole_however_little_room_is_left(name, width):
    """Numbers of every length beside a text column, down to where the table becomes paragraphs."""
    for digits in range(4, width // 3):
        columns = (Column("", numeric=False), Column("before"), Column("after"), Column("x"))
        row = ("symmetrised ELBO of encoder.layers.11.attention", *("1" * digits for _ in range(3)))
        section = Section("Table", (Table(columns, (row,)),))
        document = Document("model.pt", "ok", "good", "OK.", (section,))
        text = render(Entry({}, document), name, RenderOptions(width=width))
        assert all(len(line) <= width for line in text.splitlines())
        assert {"symmetrised", "ELBO", "encoder", "layers", "attention"} <= set(
            re.findall(r"[A-Za-z]+", text)
        )
        assert re.findall(r"1{3,}", text) == ["1" * digits] * 3


def test_a_row_without_a_table_is_a_sentence():
    columns = (Column("", numeric=False), Column("before"), Column("interval"), Column(""))
    rows = (("symmetrised ELBO", "1" * 60, "", "===="),)
    document = Document("m.pt", "ok", "good", "OK.", (Section("T", (Table(columns, rows),)),))
    text = " ".join(render(Entry({}, document), "text", RenderOptions(width=80)).split())
    assert f"symmetrised ELBO; before: {'1' * 60}" in text
    assert "interval" not in text
    assert "==" not in text


def test_no_digit_is_lost_in_80_columns():
    text = render(wide_report(), "text")
    for number in ("4096*", "32817", "14990", "[14957, 15023]", "10^6510.1", "expectation"):
        assert number in re.sub(r"\s+", " ", text), number


@pytest.mark.parametrize("made", [report(), hostile_report(), wide_report()])
def test_text_is_ascii_and_console_can_be(made):
    render(made, "text", FULL).encode("ascii")
    render(made, "console", RenderOptions(ascii=True, detail=2)).encode("ascii")


def test_environment_does_not_reach_the_renderers(monkeypatch):
    before = {name: render(report(), name) for name in format_names()}
    for variable, value in (
        ("FORCE_COLOR", "1"),
        ("COLUMNS", "20"),
        ("TERM", "dumb"),
        ("GITHUB_ACTIONS", "true"),
    ):
        monkeypatch.setenv(variable, value)
    assert {name: render(report(), name) for name in format_names()} == before


# ---------------------------------------------------------------- CI formats


def test_github_shows_the_worst_nine_and_counts_the_rest():
    many = [finding(code=f"SYM{i:03}", severity="info") for i in range(20)] + [
        finding(code="SYM999", severity="error")
    ]
    lines = render(report("ok", findings=tuple(many)), "github").splitlines()
    assert len(lines) == 10
    assert "SYM999" in lines[0]
    assert "13 more" in lines[-1]


def test_github_escapes_data_and_properties():
    text = render(
        report(path="a,b:c%d", findings=(finding(message="100%\r\n::error::x"),)), "github"
    )
    assert "file=a%2Cb%3Ac%25d," in text
    assert "100%25" in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("verdict", "failures", "skipped"),
    [("straddling", 3, 0), ("ok", 0, 0), ("inconclusive", 0, 1), ("not-applicable", 0, 1)],
)
def test_junit_fails_exactly_when_the_exit_code_would(verdict, failures, skipped):
    root = ET.fromstring(render(report(verdict), "junit"))
    suite = root.find("testsuite")
    assert (int(suite.get("failures")), int(suite.get("skipped"))) == (failures, skipped)
    assert len(root.findall(".//failure")) == failures
    assert int(suite.get("tests")) == len(root.findall(".//testcase")) == 3


def test_junit_reports_an_unreadable_input_as_an_error():
    root = ET.fromstring(render(Failure("x.pt", SymdiagError("broken", code="corrupt")), "junit"))
    assert root.find(".//testcase/error").get("message") == "corrupt: broken"


def test_html_is_self_contained_and_small_at_4096_neurons():
    made = report()
    neurons = tuple(dataclasses.replace(made.groups[0].neurons[0], index=i) for i in range(4096))
    groups = tuple(dataclasses.replace(g, neurons=neurons) for g in made.groups)
    page = render(dataclasses.replace(made, groups=groups), "html")
    assert len(page) < 1_000_000
    assert not re.search(r"(?:src|href|url)\s*[=(]|@import|http", page)
    assert "<svg" in page
    assert "prefers-color-scheme" in page


# ---------------------------------------------------------------- names of formats and schemas


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="pdf") as caught:
        render(report(), "pdf")
    assert "markdown" in caught.value.hint
    with pytest.raises(UsageError, match="horoscope"):
        schema_text("horoscope")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.json", "json"),
        ("A.MD", "markdown"),
        ("x.y.html", "html"),
        ("r.xml", "junit"),
        ("r.txt", "text"),
    ],
)
def test_the_extension_tells_the_format(file, name):
    assert format_of(file) == name


def test_an_unknown_extension_is_not_guessed():
    with pytest.raises(UsageError, match=r"report\.pdf"):
        format_of("report.pdf")
