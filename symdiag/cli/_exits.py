"""Exit codes, and every exception as one clear line with a code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from symdiag.errors import LimitError, SymdiagError, UnreadableError, UsageError

OK, FINDING, NO_VERDICT, INTERRUPTED = 0, 1, 2, 130

_BUG_HINT = "this is a bug in symdiag: run again with --debug and report the traceback"


def exit_code(reports: Iterable[Any], *, exit_zero: bool = False, strict: bool = False) -> int:
    """The verdict's exit code: 1 for a finding at or above the threshold, 0 otherwise.

    ``strict`` counts an inconclusive verdict as a finding, ``exit_zero`` maps 1 to 0.
    """
    # findings of severity error fail as well: a wrong symmetry makes any verdict moot
    failing = {"straddling", "regressed"} | ({"inconclusive"} if strict else set())
    found = any(
        report.verdict in failing
        or any(f.severity == "error" for f in getattr(report, "findings", ()))
        for report in reports
    )
    return FINDING if found and not exit_zero else OK


def explained(error: BaseException) -> SymdiagError:
    """Any exception as a SymdiagError; those nobody foresaw are ``internal-error``."""
    if isinstance(error, SymdiagError):
        return error
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return SymdiagError("interrupted", code="interrupted")
    # Typer 0.26 and later bring their own click: know its exceptions by what they offer.
    if hasattr(error, "format_message"):
        return _usage(error)
    # no traceback for what a user can change
    if isinstance(error, MemoryError):
        return LimitError(
            "out of memory", code="out-of-memory", hint="fewer --samples, or a larger machine"
        )
    # without a file name it is not the user's file that failed, and so a bug of ours
    if isinstance(error, OSError) and error.filename is not None:
        return UnreadableError(f"{error.filename}: {error.strerror}")
    return SymdiagError(f"{type(error).__name__}: {error}", code="internal-error", hint=_BUG_HINT)


def _usage(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "symdiag"
    message = " ".join(error.format_message().split())
    return UsageError(message, hint=f"see `{command} --help`")


def error_line(error: SymdiagError, path: str = "") -> str:
    """``error[code]: message. Hint: …`` on one line; names ``path`` if the message does not."""
    from symdiag.report.text import printable, sentence

    where = f"{path}: " if path and path not in error.message else ""
    hint = f" Hint: {error.hint}" if error.hint else ""
    return printable(f"error[{error.code}]: {where}{sentence(error.message)}{hint}") + "\n"
