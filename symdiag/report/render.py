"""``render``: a report, its JSON object, or an error, in any of the formats that ``formats/`` holds."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

from symdiag.errors import SymdiagError, UnreadableError, UsageError
from symdiag.report import formats, views
from symdiag.report.decode import decode
from symdiag.report.document import Check, Document, RenderOptions
from symdiag.report.model import SCHEMA_VERSION, to_object


@dataclass(frozen=True)
class Failure:
    """An input that could not be reported on, in a run that went on with the others."""

    path: str
    error: SymdiagError


@dataclass(frozen=True)
class Entry:
    """One thing to render: its JSON object and what it says."""

    data: dict[str, Any]
    document: Document


Renderable: TypeAlias = Any
"""A report dataclass of a known kind, its JSON object, an ``Entry`` ready made, or a ``Failure``."""


def format_names() -> tuple[str, ...]:
    """Every format, without importing any of them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(formats.__path__)))


def format_module(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        UsageError: There is no such format.
    """
    if name not in format_names():
        raise UsageError(f"unknown format {name!r}", hint=f"one of {', '.join(format_names())}")
    return importlib.import_module(f"{formats.__name__}.{name}")


def format_of(filename: str) -> str:
    """The format whose extension ``filename`` has.

    Raises:
        UsageError: No format claims the extension.
    """
    for name in format_names():
        if filename.lower().endswith(tuple(format_module(name).EXTENSIONS)):
            return name
    raise UsageError(
        f"cannot tell the format of {filename!r}", hint="write FORMAT=FILE, such as json=report.out"
    )


def view_modules() -> dict[str, ModuleType]:
    """Kind of report → its view."""
    found = (
        importlib.import_module(f"{views.__name__}.{m.name}")
        for m in pkgutil.iter_modules(views.__path__)
    )
    return {module.KIND: module for module in found}


def from_dict(data: Mapping[str, Any]) -> Any:
    """The report dataclass that a JSON object describes.

    Raises:
        UnreadableError: Another schema version, an unknown kind, or a malformed object.
    """
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != SCHEMA_VERSION:
        raise UnreadableError(
            f"the report has schema_version {version!r}; this symdiag reads {SCHEMA_VERSION}",
            code="bad-report",
            hint="re-render it with the symdiag that made it, or analyse the checkpoint again",
        )
    kind = data.get("kind", "analyze")
    view = view_modules().get(kind) if isinstance(kind, str) else None
    if view is None:
        raise UnreadableError(f"unknown kind of report {kind!r}", code="bad-report")
    return decode(view.MODEL, data)


def entry(item: Renderable) -> Entry:
    """An item with its JSON object and its document."""
    if isinstance(item, Entry):
        return item
    if isinstance(item, Failure):
        return _failure_entry(item)
    model = from_dict(item) if isinstance(item, Mapping) else item
    data = dict(item) if isinstance(item, Mapping) else to_object(model)
    view = view_modules()[model.kind]
    return Entry(data, view.document(model))


def _failure_entry(failure: Failure) -> Entry:
    error = failure.error
    data = {"schema_version": SCHEMA_VERSION, "path": failure.path, "error": error.to_dict()}
    text = f"No verdict [{error.code}]: {error.message}" + (
        f". Hint: {error.hint}" if error.hint else ""
    )
    check = Check("read", "error", f"{error.code}: {error.message}", (error.hint,))
    return Entry(data, Document(failure.path, "error", "bad", text, (), (check,)))


def render_all(
    items: Sequence[Renderable], format: str, options: RenderOptions | None = None
) -> str:
    """Several items as one document of the format (JSON: ``{"schema_version", "reports"}`` unless there is one)."""
    module = format_module(format)
    text: str = module.render([entry(item) for item in items], options or RenderOptions())
    return text


def render(report: Renderable, format: str = "text", options: RenderOptions | None = None) -> str:
    """One report (or its JSON object) as a string that ends in a newline.

    Raises:
        UsageError: There is no such format.
        UnreadableError: A JSON object that is not a report this version can read.
    """
    return render_all([report], format, options)
