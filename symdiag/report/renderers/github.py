"""GitHub workflow commands: annotations on the run.

GitHub shows ten per step, so the worst nine and a count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from symdiag.report.document import SEVERITY_ORDER, Document, Notice, RenderOptions, Severity
from symdiag.report.text import printable, sentence

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = ()
WORKFLOW_COMMANDS = True

_LIMIT = 9
_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}
_VERDICTS: dict[str, Severity] = {
    "good": "info",
    "muted": "info",
    "plain": "info",
    "warn": "warning",
    "bad": "error",
}


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """The verdict of each document first, then findings, worst first over all documents."""
    made = [item for entry in entries for item in _annotations(entry.document)]
    # A stable sort: each document's verdict stays before its findings of the same severity.
    made.sort(key=lambda item: SEVERITY_ORDER[item[0]])
    lines = [line for _, line in made[:_LIMIT]]
    # GitHub drops the eleventh annotation in silence.
    if len(made) > _LIMIT:
        more = len(made) - _LIMIT
        lines.append(
            f"::notice title=symdiag::{more} more in the full report; write it with -o report.md"
        )
    return "\n".join(lines) + "\n"


def _annotations(document: Document) -> list[tuple[Severity, str]]:
    severity = _VERDICTS[document.tone]
    said = " ".join(sentence(text) for text in (document.headline, *document.conditions))
    verdict = (severity, _command(severity, document.subject, "symdiag", said))
    return [verdict, *((n.severity, _notice(document.subject, n)) for n in document.notices)]


def _notice(subject: str, notice: Notice) -> str:
    parts = [sentence(t) for t in (notice.message, *notice.sentences)]
    if notice.action:
        parts.append(f"Next: {notice.action}")
    return _command(notice.severity, subject, notice.code, " ".join(parts))


def _command(severity: Severity, subject: str, title: str, message: str) -> str:
    # the file's place puts it into the list of annotations, though no line of it is meant
    place = f"file={_property(subject)},title={_property(title)}"
    return f"::{_COMMANDS[severity]} {place}::{_data(message)}"


def _data(text: str) -> str:
    """Message text: ``printable`` has no line breaks left; a per cent sign starts an escape."""
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    # in a property a comma starts the next one and a colon ends them all
    return _data(text).replace(":", "%3A").replace(",", "%2C")
