"""``symdiag schema``: the JSON Schemas that reports follow."""

from __future__ import annotations

from typing import Annotated

import typer

from symdiag.cli._exits import OK
from symdiag.cli._options import command
from symdiag.cli._streams import write_stdout
from symdiag.options import offers
from symdiag.report.kinds import kind_names


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        schema,
        short_help="Print the JSON Schema of a report.",
        example="symdiag schema analyze > analyze.schema.json",
    )


def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help=f"{', '.join(kind_names())}, list or error.",
            autocompletion=offers(lambda: (*kind_names(), "error", "list")),
        ),
    ] = "analyze",
) -> int:
    """Print the JSON Schema of a report.

    `list` is what several inputs in one call give, `error` what stands in place of a report when
    there is no verdict.
    """
    from symdiag.report.schemas import schema_text

    write_stdout(schema_text(name))
    return OK
