"""stdout for the report, stderr for everything else; neither may ever raise at the user."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TextIO

from symdiag.errors import OutputError


class StdoutError(OutputError):
    """stdout itself cannot be written, so there is no use in saying anything more there."""


def is_tty(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal (a closed or missing one is not)."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def speaks_unicode(stream: TextIO | None) -> bool:
    """Whether a stream can show any character."""
    return (getattr(stream, "encoding", None) or "ascii").lower().startswith(("utf", "cp65001"))


def wants_color(choice: str) -> bool:
    """Whether stdout gets colour: ``--color``, else NO_COLOR, FORCE_COLOR, the terminal."""
    if choice != "auto":
        return choice == "always"
    # no-color.org: set and not empty; it wins over FORCE_COLOR
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_tty(sys.stdout) and os.environ.get("TERM") != "dumb"


def write_stdout(text: str) -> None:
    """Write and flush. A reader that went away (``| head -1``) is no error.

    Raises:
        StdoutError: stdout cannot take the text, such as on a full disk.
    """
    try:
        _write(sys.stdout, text)
    # before OSError, of which it is a kind
    except BrokenPipeError:
        _abandon(sys.stdout)
    except (OSError, ValueError) as error:
        _abandon(sys.stdout)
        if (
            getattr(error, "errno", None) == errno.EINVAL and os.name == "nt"
        ):  # how Windows spells EPIPE
            return
        raise StdoutError(f"cannot write to standard output: {error}") from error


def write_stderr(text: str) -> None:
    """Write a line to stderr if anyone can read it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "ascii"
    # a console that cannot show a character shows its code instead of failing
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _abandon(stream: TextIO) -> None:
    """Point a broken stream at nothing, so that the interpreter's own flush at exit stays quiet."""
    with contextlib.suppress(OSError, ValueError):
        # the descriptor, not sys.stdout: the buffer flushed at exit writes to that
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
