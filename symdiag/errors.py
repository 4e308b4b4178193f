"""Every error symdiag raises on purpose: a stable code, one clear line, a hint at what to do.

SymdiagError
├── UsageError            the call itself is wrong (options, names, combinations)
├── InputError            a file or array cannot be used
│   ├── UnreadableError   cannot be opened, truncated, empty, not a checkpoint
│   ├── UnsafeError       would need code execution to read; refused
│   ├── LimitError        declared sizes exceed what we are willing to allocate
│   └── UnsupportedError  well formed, but not something symdiag can vouch for
├── SymmetryError         a claimed symmetry does not hold
├── TrainingError         optimisation diverged or cannot continue
└── OutputError           the result could not be written
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

_MAX_SHOWN = 80


@dataclass(frozen=True)
class Explanation:
    """What a stable code, of an error or of a finding, means and what to do about it.

    ``reference``: the section of docs/ or the publication that a finding rests on; the exit code
    of an error.
    """

    code: str
    title: str
    meaning: str
    action: str
    reference: str


def one_line(text: object) -> str:
    """``text`` with line breaks, escape sequences and other unprintable characters spelled out.

    Messages quote names from files; those must not forge terminal output or log lines.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def shown(name: object) -> str:
    """``name``, which comes from a file, on one printable line of a readable length."""
    text = one_line(name)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def listed(names: Iterable[object], limit: int = 5) -> str:
    """``names`` as one comma-separated line, with the count of those left out."""
    every = [shown(name) for name in names]
    rest = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _shortened(text: str) -> str:
    """``text`` without its middle where it is endless: names from a file may have megabytes."""
    return text if len(text) <= 2000 else f"{text[:1500]} [...] {text[-400:]}"


class SymdiagError(Exception):
    """Base class. ``code`` is stable and kebab-case; ``hint`` says what to do next."""

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        # Names quoted from files are hostile until shown otherwise.
        self.message = _shortened(one_line(message))
        super().__init__(self.message)
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{stop} Hint: {self.hint}"

    def to_dict(self) -> dict[str, str]:
        """The ``error`` object of the JSON contract."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(SymdiagError):
    """An option, name or combination of options is not valid."""

    default_code = "usage"


class InputError(SymdiagError):
    """An input file or array cannot be used."""

    default_code = "bad-input"


class UnreadableError(InputError):
    """The file cannot be opened or is not a checkpoint at all."""

    default_code = "unreadable"


class UnsafeError(InputError):
    """Reading the file would mean running code from it. Never done, whatever the flags."""

    default_code = "unsafe-checkpoint"


class LimitError(InputError):
    """Declared sizes exceed the limits; refused before anything is allocated."""

    default_code = "limit-exceeded"


class UnsupportedError(InputError):
    """Well formed, but not something symdiag knows how to read correctly."""

    default_code = "unsupported"


class SymmetryError(SymdiagError):
    """A claimed symmetry of the network does not hold."""

    default_code = "symmetry-violated"


class TrainingError(SymdiagError):
    """Optimisation diverged or cannot continue."""

    default_code = "training-failed"


class OutputError(SymdiagError):
    """The result could not be written; nothing was left half written."""

    default_code = "write-failed"


class ContradictionError(RuntimeError):
    """Two bounds on one quantity exclude each other by more than their errors: a bug of symdiag.

    Not a ``SymdiagError``: nothing the caller did causes it, and no number may be reported after
        it.
    """
