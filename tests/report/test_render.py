"""Every format: complete, escaped, within its width; and the JSON contract."""

import copy
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
from report_examples import HOSTILE, estimate, finding, hostile_report, report

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
from symdiag.report.comparison import compare_reports
from symdiag.report.model import to_object
from symdiag.report.schemas import schema_names, schema_text

HUMAN = ("console", "text", "markdown")
VERDICTS = ("ok", "straddling", "inconclusive", "not-applicable")
FULL = RenderOptions(detail=2)


def wide_report():
    """A layer as wide as they come, with long numbers everywhere."""
    made = report()
    huge = estimate(14990.1234, 33.333, "expectation")
    groups = tuple(
        dataclasses.replace(
            g,
            name="encoder.layers.11.mlp.fc1",
            width=4096,
            signed=True,
            log_order=32817.2,
            straddling_entropy=huge,
            mutual_information=huge,
            effective_modes=None,
        )
        for g in made.groups
    )
    total = dataclasses.replace(
        made.total, straddling_entropy=huge, log_order=65634.4, effective_modes=None
    )
    return dataclasses.replace(made, groups=groups, total=total)


def test_every_format_of_the_contract_exists():
    assert set(format_names()) >= {"console", "text", "json", "markdown", "junit", "github", "html"}


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("name", format_names())
def test_every_verdict_renders_and_ends_in_a_newline(name, verdict):
    text = render(report(verdict), name, FULL)
    assert text.endswith("\n")
    assert "model.pt" in text


@pytest.mark.parametrize(
    ("verdict", "word"),
    list(zip(VERDICTS, ("OK", "STRADDLING", "INCONCLUSIVE", "NOT"), strict=True)),
)
@pytest.mark.parametrize("name", HUMAN)
def test_the_verdict_leads(name, verdict, word):
    head = "\n".join(render(report(verdict), name).splitlines()[:3])
    assert re.search(rf"\b{word}\b", head)


@pytest.mark.parametrize(
    "name", [n for n in format_names() if n not in ("json", "github", "junit")]
)
def test_coverage_and_assumptions_appear(name):
    text = render(report(), name)
    for fact in (
        "110 of 120 parameters",
        "output units have fixed labels",
        "layers form a chain",
        "noise buffer",
    ):
        assert fact in re.sub(r"\s+", " ", text)


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
    schema = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def closed(schema):
    """The schema with every object closed: then a field it does not document is an error."""
    schema = copy.deepcopy(schema)
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if "properties" in node:
                node.setdefault("additionalProperties", False)
            stack += list(node.values())
        elif isinstance(node, list):
            stack += node
    return schema


@pytest.mark.parametrize("name", schema_names())
def test_schemas_are_valid_draft_2020_12(name):
    validator(name)


@pytest.mark.parametrize("made", [*map(report, VERDICTS), hostile_report(), wide_report()])
def test_json_validates_and_every_field_is_documented(made):
    data = json.loads(render(made, "json"))
    validator("analyze").validate(data)
    jsonschema.Draft202012Validator(closed(json.loads(schema_text("analyze")))).validate(data)


def test_unknown_fields_are_allowed_in_both_directions():
    data = to_object(report())
    data["model"]["colour"] = "blue"
    data["groups"][0]["neurons"][0]["mood"] = 1
    validator("analyze").validate(data)
    assert from_dict(data) == report()


@pytest.mark.parametrize("drop", ["verdict", "groups", "settings", "total"])
def test_a_missing_field_violates_schema_and_reader(drop):
    data = to_object(report())
    del data[drop]
    with pytest.raises(jsonschema.ValidationError):
        validator("analyze").validate(data)
    with pytest.raises(UnreadableError, match=drop):
        from_dict(data)


def test_round_trip_restores_every_field():
    for made in (*map(report, VERDICTS), hostile_report(), wide_report()):
        assert from_dict(json.loads(render(made, "json"))) == made


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


def test_compare_report_validates_and_round_trips():
    made = compare_reports(report(), report())
    data = json.loads(render(made, "json"))
    jsonschema.Draft202012Validator(closed(json.loads(schema_text("compare")))).validate(data)
    assert from_dict(data) == made


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
        "section",
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
    ),
    *("x", "y", "width", "height"),
}


def assert_well_formed(text, name):
    if name == "json":
        json.loads(text)
    elif name == "junit":
        ET.fromstring(text)
    elif name == "html":
        tags = Tags()
        tags.feed(text)
        tags.close()
        assert tags.seen <= ALLOWED
        assert tags.open == []
    if name != "json":
        assert_inert(text, own_commands=name == "github")


@pytest.mark.parametrize("name", format_names())
def test_hostile_names_are_escaped(name):
    text = render(hostile_report(), name, FULL)
    assert_well_formed(text, name)
    if name in ("html", "markdown"):
        assert "<script" not in re.sub(r"(`+).*?\1", "", text)


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


def test_no_digit_is_lost_in_80_columns():
    text = render(wide_report(), "text")
    for number in ("4096*", "32817", "14990", "[14957, 15023]", "10^6510.1", "expectation"):
        assert number in re.sub(r"\s+", " ", text), number


@pytest.mark.parametrize("made", [report(), hostile_report(), wide_report()])
def test_text_is_ascii_and_console_can_be(made):
    render(made, "text", FULL).encode("ascii")
    render(made, "console", RenderOptions(ascii=True, detail=2)).encode("ascii")


def test_colour_only_when_asked_and_only_on_the_console():
    assert "\x1b[" in render(report(), "console", RenderOptions(color=True))
    for name in format_names():
        assert "\x1b" not in render(report(), name)
        if name != "console":
            assert "\x1b" not in render(report(), name, RenderOptions(color=True))


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
