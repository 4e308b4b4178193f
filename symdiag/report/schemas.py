"""The JSON Schemas (Draft 2020-12): generated from the report dataclasses, shipped as files.

``python .ci/write_schemas.py`` writes the shipped files anew; a test holds them to what
``generated_schema`` gives. Within a version fields are only ever added: a new one is annotated with
``LATER``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from symdiag.errors import UsageError
from symdiag.estimate import LATER
from symdiag.report.codec import SCHEMA_VERSION
from symdiag.report.kinds import kind_class, kind_names
from symdiag.report.parts import ErrorObject

_SUFFIX = f"-{SCHEMA_VERSION}.json"


@dataclass(frozen=True)
class ErrorReport:
    """Printed on stdout instead of a report in JSON mode.

    The exit code is then 2 (130 when interrupted). `path` is present inside a list of reports.
    """

    schema_version: Literal[1]
    path: Annotated[str, LATER, Meta(description="the input concerned")]
    error: ErrorObject


@dataclass(frozen=True)
class ReportList:
    """Each item is a report (see the schema of its `kind`) or an error, in the call's order."""

    schema_version: Literal[1]
    reports: tuple[
        Annotated[
            dict[str, Any],
            Meta(
                extra_json_schema={
                    "required": ["schema_version"],
                    "oneOf": [{"required": ["kind"]}, {"required": ["error"]}],
                }
            ),
        ],
        ...,
    ]


_BESIDES = {
    "error": (ErrorReport, "symdiag error"),
    "list": (ReportList, "symdiag reports on several inputs"),
}


def schema_names() -> tuple[str, ...]:
    """Kinds of document that have a schema."""
    return tuple(sorted((*kind_names(), *_BESIDES)))


def schema_text(name: str) -> str:
    """The shipped schema of a kind of document, as JSON text.

    Raises:
        UsageError: There is no such schema.
    """
    # checked first, so that no name can lead out of the folder of schemas
    if name not in schema_names():
        raise UsageError(f"no schema {name!r}", hint=f"one of {', '.join(schema_names())}")
    return (files("symdiag.report") / "schema" / f"{name}{_SUFFIX}").read_text("utf-8")


def generated_schema(name: str) -> dict[str, Any]:
    """The schema of a kind of document, from its dataclass."""
    cls, title = (
        _BESIDES[name] if name in _BESIDES else (kind_class(name), f"symdiag {name} report")
    )
    # Components by class name; the class itself becomes the top level, the others `$defs`.
    (_,), components = msgspec.json.schema_components([cls])
    made = {key: _tidied(value) for key, value in components.items()}
    # a validator starts at the top level, not at a reference into `$defs`
    top = made.pop(cls.__name__)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:symdiag:schema:{name}:{SCHEMA_VERSION}",
        "title": f"{title}, version {SCHEMA_VERSION}",
    }
    return {**head, **top, **({"$defs": made} if made else {})}


def _tidied(node: Any) -> Any:
    """A node of msgspec's schema as we ship it: our markers resolved, defaults and titles gone."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Defaults would tell writers that a field may be left out; titles repeat class names.
    made = {k: _tidied(v) for k, v in node.items() if k not in ("default", "title", "properties")}
    if "properties" in node:
        _required(made, node)
    # fields where null stands for an infinity: to a validator just another allowed type
    if made.pop("null", ""):
        made["type"] = [made["type"], "null"]
    if isinstance(made.get("description"), str):
        # docstrings keep their line breaks and indentation, which mean nothing in a schema
        made["description"] = " ".join(made["description"].split())
    return _without_union(made)


def _required(made: dict[str, Any], node: dict[str, Any]) -> None:
    """Require every field that the version's first reports had: the writer leaves none out."""
    later = [name for name, field in node["properties"].items() if field.get("later")]
    fields = {name: _tidied(field) for name, field in node["properties"].items()}
    for name in later:
        # a marker of ours: strict validators reject keywords that they do not know
        fields[name].pop("later")
    made["properties"] = fields
    # A map from names to values has no fields that could be missing.
    if "additionalProperties" not in node:
        made["required"] = [name for name in fields if name not in later]


def _without_union(node: dict[str, Any]) -> dict[str, Any]:
    """``X or null`` as a list of types unless X is a reference; one allowed value as ``const``."""
    if len(node.get("enum", ())) == 1:
        node["const"] = node.pop("enum")[0]
    choices = node.get("anyOf", [])
    if (
        len(choices) == 2
        and choices[1] == {"type": "null"}
        and isinstance(choices[0].get("type"), str)
    ):
        outer = {key: value for key, value in node.items() if key != "anyOf"}
        return {**choices[0], **outer, "type": [choices[0]["type"], "null"]}
    return node
