"""Every kind of report: declared once, read back exactly, valid by its own schema, shown in every format.

A new ``kinds/KIND.py`` is met here as soon as it exists; it needs a view and one example in ``kind_examples``.
"""

import copy
import dataclasses
import json
import math
import random

import jsonschema
import pytest
from kind_examples import EXAMPLES
from msgspec import inspect

from symdiag.errors import UnreadableError
from symdiag.report import from_dict, render
from symdiag.report.codec import to_object
from symdiag.report.kinds import kind_class, kind_names
from symdiag.report.rendering import document_of
from symdiag.report.schemas import generated_schema, schema_names, schema_text

CASES = [
    pytest.param(report, id=f"{kind}-{i}")
    for kind in kind_names()
    for i, report in enumerate(EXAMPLES.get(kind, ()))
]


def validator(name):
    return jsonschema.Draft202012Validator(json.loads(schema_text(name)))


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


def through_json(report):
    return from_dict(json.loads(json.dumps(to_object(report), allow_nan=False)))


class Inventor:
    """Random instances of a declared type: every optional part now there, now not; infinities where allowed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def make(self, kind, infinity=0.0):
        name = f"make_{type(kind).__name__.removesuffix('Type').lower()}"
        return getattr(self, name)(kind, infinity)

    def make_metadata(self, kind, infinity):
        extra = kind.extra_json_schema or {}
        if "enum" in extra:
            return self.random.choice(extra["enum"])
        return self.make(kind.type, float(extra.get("null", infinity)))

    def make_dataclass(self, kind, infinity):
        given = {f.name for f in dataclasses.fields(kind.cls) if f.init}
        return kind.cls(**{f.name: self.make(f.type) for f in kind.fields if f.name in given})

    def make_union(self, kind, infinity):
        return self.make(self.random.choice(kind.types), infinity)

    def make_vartuple(self, kind, infinity):
        return tuple(self.make(kind.item_type) for _ in range(self.random.randrange(3)))

    def make_tuple(self, kind, infinity):
        return tuple(self.make(item) for item in kind.item_types)

    def make_dict(self, kind, infinity):
        return {self.random.choice("abcdefgh"): self.make(kind.value_type) for _ in range(2)}

    def make_literal(self, kind, infinity):
        return self.random.choice(kind.values)

    def make_float(self, kind, infinity):
        low, high = kind.ge if kind.ge is not None else -9.0, kind.le if kind.le is not None else 9
        return (
            infinity if infinity and self.random.random() < 0.3 else self.random.uniform(low, high)
        )

    def make_int(self, kind, infinity):
        return self.random.randrange(kind.ge or 0, 99)

    def make_str(self, kind, infinity):
        return "x-y" if kind.pattern else self.random.choice(("fc1", "", "a\nb", "é\u202e", "x-y"))

    def make_bool(self, kind, infinity):
        return self.random.random() < 0.5

    def make_none(self, kind, infinity):
        return None

    def make_any(self, kind, infinity):
        return 1.5


@pytest.mark.parametrize("kind", kind_names())
def test_a_kind_has_examples_and_a_view(kind):
    assert EXAMPLES.get(kind), f"add tests/report/kind_examples/{kind}.py"
    assert kind_class(kind)(**vars(EXAMPLES[kind][0])) == EXAMPLES[kind][0]
    for example in EXAMPLES[kind]:
        assert type(example) is kind_class(kind)
        assert example.kind == kind
        assert document_of(example).headline


@pytest.mark.parametrize("report", CASES)
def test_json_restores_the_report_exactly(report):
    assert through_json(report) == report
    assert to_object(through_json(report)) == to_object(report)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", kind_names())
def test_any_instance_of_the_declaration_round_trips_and_validates(kind, seed):
    report = Inventor(seed).make(inspect.type_info(kind_class(kind)))
    assert through_json(report) == report
    schema = json.loads(schema_text(kind))
    schema["properties"]["tool"].pop("required")  # its keys are not declared, only described
    jsonschema.Draft202012Validator(schema).validate(to_object(report))


@pytest.mark.parametrize("report", CASES)
def test_the_schema_documents_exactly_what_is_written(report):
    data = json.loads(render(report, "json"))
    jsonschema.Draft202012Validator(closed(json.loads(schema_text(report.kind)))).validate(data)


@pytest.mark.parametrize("name", schema_names())
def test_the_shipped_schema_is_the_generated_one(name):
    assert json.loads(schema_text(name)) == generated_schema(name), "python .ci/write_schemas.py"
    jsonschema.Draft202012Validator.check_schema(generated_schema(name))


@pytest.mark.parametrize("report", CASES)
def test_schema_and_reader_require_the_same_fields(report):
    data = to_object(report)
    for field in data:
        without = {k: v for k, v in data.items() if k != field}
        required = field in json.loads(schema_text(report.kind))["required"]
        assert validator(report.kind).is_valid(without) == (not required)
        if required and field not in ("run", "kind") and _has_no_default(report, field):
            with pytest.raises(UnreadableError, match=field) as caught:
                from_dict(without)
            assert caught.value.code == "bad-report"


def _has_no_default(report, name):
    fields = inspect.type_info(type(report)).fields
    return next(f.required for f in fields if f.encode_name == name)


@pytest.mark.parametrize("report", CASES)
def test_unknown_fields_are_allowed_at_any_depth(report):
    data = to_object(report)
    stack, seen = [data], 0
    while stack:
        node = stack.pop()
        stack += [
            v
            for v in (node.values() if isinstance(node, dict) else node)
            if v and isinstance(v, (dict, list))
        ]
        # What maps names to values is no object with fields: a new name there is data.
        if isinstance(node, dict) and "name" in node and node is not data["tool"]:
            node["added later"], seen = {"colour": "blue"}, seen + 1
    data["added later"] = 1
    validator(report.kind).validate(data)
    assert from_dict(data) == report


def test_descriptions_ranges_and_enumerations_of_the_declaration_reach_the_schema():
    schema = json.loads(schema_text("analyze"))
    estimate = schema["$defs"]["Estimate"]["properties"]
    assert estimate["lower"] == {"description": "null: minus infinity", "type": ["number", "null"]}
    assert estimate["std_error"]["minimum"] == 0
    assert set(estimate["interval"]["enum"]) == {
        "exact",
        "certified",
        "probability",
        "expectation",
        "deterministic",
    }
    assert schema["properties"]["kind"] == {"const": "analyze"}
    assert "baseline" not in schema["required"]


def test_what_a_report_says_of_an_estimate_being_finite_is_not_believed():
    data = to_object(EXAMPLES["analyze"][0])
    data["total"]["straddling_entropy"].update(upper=None, status="ok")
    restored = from_dict(data).total.straddling_entropy
    assert (restored.upper, restored.status) == (math.inf, "unbounded")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settings", "seed"), "0"),
        (("settings", "seed"), True),
        (("settings", "seed"), -1),
        (("settings", "seed"), 10**30),
        (("settings", "max_straddling"), "1.0"),
        (("groups", 0, "neurons", 1, "collapsed"), 0),
        (("groups", 0, "name"), None),
        (("model", "layers", 0, "shape"), 3),
        (("verdict",), "fine"),
        (("findings", 0, "severity"), ["error"]),
    ],
)
def test_the_reader_is_strict_and_names_the_place(place, value):
    data = to_object(EXAMPLES["analyze"][0])
    node = data
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    with pytest.raises(UnreadableError) as caught:
        from_dict(data)
    shown = "report" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in place)
    # msgspec shows an index it cannot know as `[...]`.
    assert caught.value.message.startswith(
        (shown, shown.replace("[0]", "[...]").replace("[1]", "[...]"))
    )
    assert caught.value.code == "bad-report"


def test_integers_beyond_any_double_are_infinite():
    data = to_object(EXAMPLES["analyze"][0])
    data["total"]["straddling_entropy"]["upper"] = 10**400
    assert from_dict(data).total.straddling_entropy.upper == math.inf


def test_a_path_that_is_no_text_is_written_as_escapes():
    made = EXAMPLES["analyze"][0]
    model = dataclasses.replace(made.model, path="odd-\udcff.pt")
    text = render(dataclasses.replace(made, model=model), "json")
    assert json.loads(text)["model"]["path"] == "odd-\\udcff.pt"
