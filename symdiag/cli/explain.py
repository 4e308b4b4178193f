"""``symdiag explain``: what a finding or error code means and what to do about it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import TYPE_CHECKING, Annotated

import typer

from symdiag.cli._exits import OK
from symdiag.cli._options import ShownOptions, command
from symdiag.cli._output import emit, resolve_output
from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.errors import Explanation
    from symdiag.report.rendering import Entry


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        explain,
        short_help="Explain finding and error codes.",
        example="symdiag explain SYM001",
    )


def _codes(incomplete: str) -> list[str]:
    return [code for code in _catalogue() if code.lower().startswith(incomplete.lower())]


def explain(
    codes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE]...", help="Such as SYM001 or unsafe-checkpoint.", autocompletion=_codes
        ),
    ] = None,
    *,
    shown: ShownOptions,
) -> int:
    """Explain finding codes and error codes; without a code, list them all."""
    out = resolve_output(shown)
    catalogue = _catalogue()
    if not codes:
        emit(out, [_index(catalogue)])
    else:
        emit(out, [_entry(_find(catalogue, code)) for code in codes])
    return OK


def _catalogue() -> dict[str, Explanation]:
    from symdiag.diagnostics.findings import CATALOGUE
    from symdiag.report.error_codes import ERROR_CODES

    return {**CATALOGUE, **ERROR_CODES}


def _find(catalogue: dict[str, Explanation], code: str) -> Explanation:
    # codes are typed from memory: case does not matter
    by_lower = {name.lower(): explanation for name, explanation in catalogue.items()}
    found = by_lower.get(code.lower())
    if found is None:
        number = re.fullmatch(r"sym[-_ ]?(\d+)", code.lower())
        wanted = f"sym{int(number[1]):03d}" if number else code.lower()  # sym1 means SYM001
        near = [wanted] if wanted in by_lower else difflib.get_close_matches(wanted, by_lower, 3)
        names = ", ".join(by_lower[n].code for n in near)
        hint = f"did you mean {names}?" if near else "`symdiag explain` lists all codes"
        raise UsageError(f"unknown code {code!r}", code="unknown-code", hint=hint)
    return found


def _entry(explanation: Explanation) -> Entry:
    from symdiag.report.codec import SCHEMA_VERSION
    from symdiag.report.document import Document, Paragraph, Section
    from symdiag.report.rendering import Entry

    parts = {"What it means": explanation.meaning, "What to do": explanation.action}
    parts["Reference"] = explanation.reference
    sections = tuple(Section(title, (Paragraph(text),)) for title, text in parts.items() if text)
    data = {"schema_version": SCHEMA_VERSION, "kind": "explain", **dataclasses.asdict(explanation)}
    return Entry(data, Document(explanation.code, "", "plain", explanation.title, sections))


def _index(catalogue: dict[str, Explanation]) -> Entry:
    from symdiag.report.codec import SCHEMA_VERSION
    from symdiag.report.document import Column, Document, Section, Table
    from symdiag.report.rendering import Entry

    columns = (Column("code", numeric=False), Column("title", numeric=False))
    table = Table(columns, tuple((e.code, e.title) for e in catalogue.values()))
    data = {"schema_version": SCHEMA_VERSION, "kind": "explain-index"}
    data["codes"] = {e.code: e.title for e in catalogue.values()}
    headline = "Finding codes (SYM...) and error codes; `symdiag explain CODE` tells more."
    return Entry(
        data, Document("symdiag explain", "", "plain", headline, (Section("Codes", (table,)),))
    )
