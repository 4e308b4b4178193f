"""Options of training that need parsing, and its progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from symdiag.cli._streams import is_tty, write_stderr
from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.training.metrics import Record

_EVERY = 10  # intervals between lines where the line cannot be rewritten in place


def parse_noise(text: str | None) -> float | str | None:
    """``learn`` or a number; UsageError otherwise."""
    if text is None or text == "learn":
        return text
    return _number("--noise", text)


def parse_prior(options: Sequence[str]) -> dict[str, Any]:
    """``1.0`` and ``fc1=0.5`` as the arguments of ``ModelConfig``."""
    default: float | None = None
    by_tensor: dict[str, float] = {}
    for option in options:
        name, equals, value = option.rpartition("=")
        if equals:
            by_tensor[name] = _number("--prior-std", value)
        else:
            default = _number("--prior-std", value)
    return {"prior_std": default, "prior_std_by_tensor": by_tensor}


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a number", code="bad-option") from None


def progress_sink() -> Callable[[Record], None]:
    """One line per interval, rewritten in place on a terminal; every tenth, and each run's last, elsewhere."""
    live = is_tty(sys.stderr)
    count = 0

    def show(record: Record) -> None:
        nonlocal count
        count += 1
        last = record.step >= record.steps
        if not (live or last or count % _EVERY == 1):
            return
        line = (
            f"{record.phase}: step {record.step}/{record.steps}  ELBO {record.elbo:.2f}  "
            f"H {record.straddling_entropy:.2f}  {record.steps_per_second:.0f} steps/s  ETA {record.eta_seconds:.0f} s"
        )
        write_stderr(f"\r{line:<78}" + ("\n" if last else "") if live else f"{line}\n")

    return show
