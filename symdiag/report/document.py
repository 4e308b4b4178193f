"""What a report says, apart from how a format shows it.

A *view* (one file per kind of report) turns a report into a ``Document``; a *format* (one file
each) turns documents into a string. Strings in a document are raw: escaping is each format's duty.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone = Literal["good", "warn", "bad", "muted", "plain"]
Severity = Literal["info", "warning", "error"]
Outcome = Literal["passed", "failed", "skipped", "error"]

# Worst first: formats that cut their output off keep what decides.
_COMMAND = re.compile(r"(?:(?P<purpose>.*): )?(?P<command>symdiag [a-z].*)", re.DOTALL)

SEVERITY_ORDER: dict[str, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Facts:
    """Label and value pairs."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bullets:
    """A list of short texts."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command to paste: a format that wraps lines must keep it whole for a shell."""

    text: str
    purpose: str = ""


@dataclass(frozen=True)
class Column:
    """A table column; numeric ones align right and never wrap."""

    header: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells, one per column, with a caption that explains the columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar: ``value`` in [0, 1]; ``note`` is shown beside or on hover."""

    label: str
    value: float
    note: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Bars:
    """A bar chart. Graphical formats draw it; the others leave it to the tables."""

    caption: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Notice:
    """A finding: what, where, measured against allowed, what it means, what to do next."""

    code: str
    severity: Severity
    message: str
    where: str = ""
    measured: str = ""
    meaning: str = ""
    action: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything between the message and the next step, one sentence each."""
        where = f"At {self.where}." if self.where else ""
        return tuple(text for text in (where, self.measured, self.meaning) if text)

    @property
    def next_step(self) -> Command | Paragraph | None:
        """``action`` as a command with its purpose, as prose, or None."""
        return step(self.action) if self.action else None


# A closed list on purpose: a renderer that meets a new kind of block must fail its type check.
Block: TypeAlias = Paragraph | Command | Facts | Bullets | Table | Bars | Notice


@dataclass(frozen=True)
class Section:
    """A titled sequence of blocks. ``detail`` sections appear only with -v (and always in HTML)."""

    title: str
    blocks: tuple[Block, ...]
    detail: bool = False


@dataclass(frozen=True)
class Check:
    """One line of a test report. It fails only where the exit code would."""

    name: str
    outcome: Outcome
    message: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report on one subject: the headline says it all in one sentence.

    ``conditions``: what the figures cover, leave out and assume, for formats that show no sections.
    """

    subject: str
    verdict: str
    tone: Tone
    headline: str
    sections: tuple[Section, ...] = ()
    checks: tuple[Check, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Every finding in the document, worst first."""
        # Sorting is stable: within one severity the view's own order stands.
        found = [b for s in self.sections for b in s.blocks if isinstance(b, Notice)]
        return tuple(sorted(found, key=lambda n: SEVERITY_ORDER[n.severity]))


@dataclass(frozen=True)
class RenderOptions:
    """How to show it. ``detail``: 0 the verdict only, 1 normal, 2 everything.

    ``figures``: at most so many of each report, in formats that can draw; they load matplotlib.
    """

    color: bool = False
    ascii: bool = False
    width: int = 80
    detail: int = 1
    figures: int = 0


def step(hint: str) -> Command | Paragraph:
    """A hint as the command it ends in, with what that is for, or as prose.

    Hints are ``COMMAND`` or ``PURPOSE: COMMAND``; one read from a file may be anything.
    """
    # a hint from a file is shown as a command only if a shell could read it as one
    match = _COMMAND.fullmatch(hint)
    if match is None or not _is_shell(match["command"]):
        return Paragraph(hint)
    return Command(match["command"], match["purpose"] or "")


def _is_shell(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:  # an open quotation mark
        return False
    # a pasted line break would run what stands behind it as a command of its own
    return "\n" not in text


def command_lines(command: str, width: int) -> list[str]:
    """A command on lines of at most ``width``, joined for the shell by backslashes where it can break.

    An option stays on the line of its value, and no word is ever cut.
    """
    # split and quoted again: then every word is one for the shell, whatever the hint's spelling
    words = [shlex.quote(word) for word in shlex.split(command)]
    pieces: list[str] = []
    for word in words:
        # A flag without a value is followed by another flag: nothing to keep together.
        if pieces and pieces[-1].startswith("-") and " " not in pieces[-1] and word[:1] != "-":
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    lines = [pieces[0]]
    for piece in pieces[1:]:
        longer = f"{lines[-1]} {piece}"
        # 2: the blank and the backslash that the line may need at its end
        if len(longer) + 2 <= width:
            lines[-1] = longer
        else:
            lines.append(f"    {piece}")
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]
