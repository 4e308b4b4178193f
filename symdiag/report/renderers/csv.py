"""CSV: a line per file with everything that its report says once, for spreadsheets and pandas.

What a table of several files adds stands on the lines of those files. Tables of units or of pairs
are in ``report.to_csv(table=…)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symdiag.report.document import Document, RenderOptions
from symdiag.report.reading import from_dict
from symdiag.report.records import csv_text, rows, summary
from symdiag.report.text import printable

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".csv",)


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """A header, then one line per file."""
    lines: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        if entry.data.get("kind") == "evidence":
            for row in rows(from_dict(entry.data)):
                # a table of files that were reported on before: on their lines
                line = lines.setdefault(printable(row["name"]), {"subject": row.pop("name")})
                line.update({f"evidence_{key}": value for key, value in row.items()})
            continue
        key = printable(entry.document.subject)
        lines[key if key not in lines else f"{key} {number}"] = _line(entry)
    if not lines:
        return "subject\n"
    return csv_text([{printable(k): _shown(v) for k, v in line.items()} for line in lines.values()])


def _line(entry: Entry) -> dict[str, Any]:
    document = entry.document
    said = {"subject": document.subject, "verdict": document.verdict}
    said["headline"] = document.headline
    if "kind" in entry.data and "error" not in entry.data:
        report = _report(entry)
        said |= {k: v for k, v in (summary(report) if report else {}).items() if k != "verdict"}
    return {**said, **_prose(document)}


def _report(entry: Entry) -> Any:
    """The dataclass, or None for what has none (explain pages)."""
    from symdiag.report.kinds import kind_names

    return from_dict(entry.data) if entry.data["kind"] in kind_names() else None


def _prose(document: Document) -> dict[str, str]:
    found = [f"{n.code} {n.severity}: {n.message}" for n in document.notices]
    failed = [
        f"{c.message}; {'; '.join(c.details)}" for c in document.checks if c.outcome == "error"
    ]
    return {
        "findings": " | ".join((*found, *failed)),
        "conditions": " | ".join(document.conditions),
    }


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_shown(item) for item in value)
    return printable(value) if isinstance(value, str) else value
