"""Reference pages, written by the program itself: commands, finding and error codes, JSON schemas.

Nothing here imports torch: the site builds in an environment without it.
"""

import json
import re
from pathlib import Path

import typer

from symdiag.cli.main import build_app
from symdiag.diagnostics.findings import CATALOGUE
from symdiag.report.error_codes import ERROR_CODES

SCHEMAS = Path(__file__).parents[2] / "symdiag/report/schema"
SECTION = re.compile(r"docs/([\w/.-]+\.md), '([^']+)'")


def pages():
    """Page → Markdown."""
    return {"commands.md": commands(), "codes.md": codes(), "schemas.md": schemas()}


def commands():
    """Every command with its arguments and options, from the parser."""
    app = typer.main.get_command(build_app())
    text = [
        "# Commands",
        "What `symdiag COMMAND --help` prints. Settings also come from a file or from `SYMDIAG_*` variables: [CI](ci.md#settings-in-the-repository).",
    ]
    for name, command in app.commands.items():
        context = typer.Context(command, info_name=f"symdiag {name}")
        usage = command.collect_usage_pieces(context)
        text += [f"## {name}", _prose(command.help)]
        text += [f"```text\nsymdiag {name} {' '.join(usage)}\n```"]
        if example := re.search(r"Example: (.*)", f"{command.help}\n{command.epilog or ''}"):
            text += [f"Example: `{example[1]}`"]
        records = [p.get_help_record(context) for p in command.params]
        rows = [f"| `{_line(flags)}` | {_cell(help_)} |" for flags, help_ in filter(None, records)]
        text += ["| option | |\n|---|---|\n" + "\n".join(rows)]
    return "\n\n".join(text) + "\n"


def _prose(text):
    return _escaped(re.sub(r"Example: .*", "", text or "").strip())


def _cell(text):
    return _escaped(_line(text))


def _line(text):
    return " ".join(text.split()).replace("|", "\\|")


def _escaped(text):
    return text.replace("<", "&lt;").replace("*", "\\*")


def codes():
    """Every stable code, from the catalogue that `symdiag explain` reads."""
    text = [
        "# Findings and errors",
        "What `symdiag explain CODE` prints. Codes are stable: none is ever given another meaning.",
        "## Findings",
        *map(_explained, CATALOGUE.values()),
        "## Errors",
        "Exit code 2, and with `--format json` an object `error` with code, message and hint.",
        *map(_explained, ERROR_CODES.values()),
    ]
    return "\n\n".join(text) + "\n"


def _explained(entry):
    reference = SECTION.sub(lambda m: f"[{m[2]}]({m[1]}#{_slug(m[2])})", entry.reference)
    source = f"\n\nReference: {reference}" if "[" in reference or "et al." in reference else ""
    return (
        f"### {entry.code}: {entry.title} {{ #{entry.code.lower()} }}\n\n"
        f"{_escaped(entry.meaning)}\n\n**What to do.** {_escaped(entry.action)}{source}"
    )


def _slug(title):
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def schemas():
    """The kinds of report and their JSON Schemas."""
    rows = []
    for file in sorted(SCHEMAS.glob("*.json")):
        about = json.loads(file.read_text("utf-8"))
        words = about.get("description", about.get("title", "")).split("\n")[0]
        rows.append(f"| [`{file.stem.partition('-')[0]}`](schemas/{file.name}) | {_cell(words)} |")
    return (
        "# JSON reports\n\n`--format json` prints a report that follows one of these schemas; `symdiag schema NAME` prints the "
        "schema. Fields are only ever added within a `schema_version`, and two runs with one seed differ in `run` alone.\n\n"
        "| schema | |\n|---|---|\n" + "\n".join(rows) + "\n"
    )
