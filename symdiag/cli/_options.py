"""Options of the command line alone: how and where a report is shown, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from symdiag.options import Option
from symdiag.report.renderers import format_names


def _formats(incomplete: str) -> list[str]:
    return [name for name in format_names() if name.startswith(incomplete)]


@dataclass(frozen=True)
class ShownOptions:
    """How the report is shown."""

    format: Annotated[
        str | None,
        Option(
            f"On stdout: {', '.join(format_names())}. Console on a terminal, else text.",
            env=True,
            metavar="FORMAT",
            complete=_formats,
        ),
    ] = None
    color: Annotated[str, Option("auto, always or never.", env=True, metavar="WHEN")] = "auto"
    quiet: Annotated[bool, Option("The verdict and errors only.", flags=("--quiet", "-q"))] = False
    verbose: Annotated[
        int,
        Option("More detail; -vv logs each step as well.", flags=("--verbose", "-v"), counted=True),
    ] = 0

    @property
    def files(self) -> tuple[str, ...]:
        """Files to write the report to, each as FILE or FORMAT=FILE."""
        return ()


@dataclass(frozen=True)
class OutputOptions(ShownOptions):
    """Where a command whose only output is its report writes it."""

    output: Annotated[
        list[str] | None,
        Option(
            "Also write FILE or FORMAT=FILE; repeatable.", flags=("--output", "-o"), metavar="FILE"
        ),
    ] = None

    @property
    def files(self) -> tuple[str, ...]:
        """Files to write the report to, each as FILE or FORMAT=FILE."""
        return tuple(self.output or ())


@dataclass(frozen=True)
class ReportOptions(ShownOptions):
    """Where a command that also writes weights (to ``--output``) writes its report."""

    report: Annotated[
        list[str] | None, Option("Also write the report; repeatable.", metavar="FILE")
    ] = None

    @property
    def files(self) -> tuple[str, ...]:
        """Files to write the report to, each as FILE or FORMAT=FILE."""
        return tuple(self.report or ())


@dataclass(frozen=True)
class FindingOptions:
    """Whether a finding shows in the exit code."""

    exit_zero: Annotated[bool, Option("A finding exits 0, not 1.", env=True)] = False


@dataclass(frozen=True)
class VerdictOptions(FindingOptions):
    """Whether an inconclusive verdict shows in it as well."""

    strict: Annotated[bool, Option("An inconclusive verdict exits 1.", env=True)] = False
