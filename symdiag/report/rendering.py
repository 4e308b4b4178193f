"""``render``: a report, its JSON object, or an error, in any format that ``renderers/`` holds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from symdiag.report import views
from symdiag.report.codec import SCHEMA_VERSION, to_object
from symdiag.report.document import Check, Document, RenderOptions
from symdiag.report.reading import Failure, from_dict
from symdiag.report.renderers import format_module


@dataclass(frozen=True)
class Entry:
    """One thing to render: its JSON object, what it says, and the report itself if it is one."""

    data: dict[str, Any]
    document: Document
    report: Any = None


Renderable: TypeAlias = Any
"""A report dataclass of a known kind, its JSON object, an ``Entry``, or a ``Failure``."""


def document_of(report: Any) -> Document:
    """What a report of any kind says, by the view of its kind."""
    # on demand: one command shows one kind of report and pays for no other's view
    view = importlib.import_module(f"{views.__name__}.{report.kind}")
    document: Document = view.document(report)
    return document


def entry(item: Renderable) -> Entry:
    """An item with its JSON object and its document."""
    if isinstance(item, Entry):
        return item
    if isinstance(item, Failure):
        return _failure_entry(item)
    # A JSON object is shown as it came: fields of a later version survive re-rendering.
    model = from_dict(item) if isinstance(item, Mapping) else item
    data = dict(item) if isinstance(item, Mapping) else to_object(model)
    return Entry(data, document_of(model), model)


def _failure_entry(failure: Failure) -> Entry:
    error = failure.error
    data = {"schema_version": SCHEMA_VERSION, "path": failure.path, "error": error.to_dict()}
    text = f"No verdict [{error.code}]: {error.message}" + (
        f". Hint: {error.hint}" if error.hint else ""
    )
    # A file that could not be read has no verdict: an error for CI, not a failure.
    check = Check("read", "error", f"{error.code}: {error.message}", (error.hint,))
    return Entry(data, Document(failure.path, "error", "bad", text, (), (check,)))


def render_all(
    items: Sequence[Renderable], format: str, options: RenderOptions | None = None
) -> str:
    """Several items as one document of the format."""
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
