"""The JSON Schemas shipped with the package (Draft 2020-12; additive changes only within a version)."""

from __future__ import annotations

from importlib.resources import files

from symdiag.errors import UsageError
from symdiag.report.model import SCHEMA_VERSION

_SUFFIX = f"-{SCHEMA_VERSION}.json"


def schema_names() -> tuple[str, ...]:
    """Kinds of document that have a schema."""
    folder = files("symdiag.report") / "schema"
    return tuple(
        sorted(f.name.removesuffix(_SUFFIX) for f in folder.iterdir() if f.name.endswith(_SUFFIX))
    )


def schema_text(name: str) -> str:
    """The schema of a kind of document, as JSON text.

    Raises:
        UsageError: There is no such schema.
    """
    if name not in schema_names():
        raise UsageError(f"no schema {name!r}", hint=f"one of {', '.join(schema_names())}")
    return (files("symdiag.report") / "schema" / f"{name}{_SUFFIX}").read_text("utf-8")
