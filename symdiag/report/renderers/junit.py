"""JUnit XML: one suite per checkpoint; a case fails only where the exit code would be 1."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # writes only: nothing is parsed here
from collections.abc import Sequence
from typing import TYPE_CHECKING

from symdiag.report.document import Check, Document, RenderOptions
from symdiag.report.text import printable

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".xml",)

_TAGS = {"failed": "failure", "skipped": "skipped", "error": "error"}


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """A ``testsuites`` document."""
    root = ET.Element("testsuites", name="symdiag")
    for entry in entries:
        root.append(_suite(entry.document))
    ET.indent(root)
    # written by hand: tostring declares no encoding for text
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(document: Document) -> ET.Element:
    counts = {
        name: sum(c.outcome == name for c in document.checks)
        for name in ("failed", "error", "skipped")
    }
    suite = ET.Element(
        "testsuite",
        name=printable(document.subject),
        tests=str(len(document.checks)),
        # dashboards trust these counts and do not count the cases themselves
        failures=str(counts["failed"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    suite.extend(_case(document.subject, check) for check in document.checks)
    # Readers show a suite's output beside its cases, whether they passed or not.
    if document.conditions:
        ET.SubElement(suite, "system-out").text = _lines(document.conditions)
    return suite


def _case(subject: str, check: Check) -> ET.Element:
    case = ET.Element(
        "testcase", classname=f"symdiag.{printable(subject)}", name=printable(check.name)
    )
    if check.outcome in _TAGS:
        ET.SubElement(case, _TAGS[check.outcome], message=printable(check.message)).text = _lines(
            check.details
        )
    else:
        ET.SubElement(case, "system-out").text = _lines((check.message, *check.details))
    return case


def _lines(lines: tuple[str, ...]) -> str:
    return "\n".join(printable(line) for line in lines)
