"""Strings that are safe to show: hostile names made visible, numbers in a fixed shape, ASCII."""

from __future__ import annotations

import math
import unicodedata

from symdiag.estimate import Estimate
from symdiag.report.parts import ChanceShare

# In order: longer symbols (⁻¹) hold none of the shorter ones.
_ASCII = {
    "ω": "w", "σ": "sigma", "μ": "mu", "π": "pi", "Σ": "sum", "∂": "d", "∞": "inf", "√": "sqrt",
    "τ": "tau", "δ": "delta", "≤": "<=", "≥": ">=", "≈": "~", "±": "+/-", "×": "x", "−": "-",
    "–": "-", "—": "-", "…": "...", "·": "-", "→": "->", "⁻¹": "^-1", "∈": "in", "²": "^2",
    "ᴳ": "^G", "•": "*", "‖": "||", "Δ": "change ", "‘": "'", "’": "'", "“": '"', "”": '"',
    "\u00a0": " ",
}  # fmt: skip

# Unicode categories that a terminal obeys or hides, bidirectional overrides (Cf) among them.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """``text`` on one line with control, bidirectional and unpaired characters shown as escapes.

    A tensor may be named anything: an ANSI sequence, or a workflow command (``::error::``,
    ``##[…``), which CI systems obey at the start of a line, and wrapping could put it there.
    """
    visible = "".join(_visible(c) for c in text)
    # a colon and a hash are harmless alone; only the pairs make a command
    return visible.replace("::", "\\x3a:").replace("##", "\\x23#")


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _INVISIBLE:
        return char
    return char.encode("unicode_escape").decode("ascii")


def ascii_safe(text: str) -> str:
    """``printable`` text in pure ASCII: our own symbols spelled out, anything else escaped."""
    # first, or the escapes of hostile characters would be lost in the replacements
    text = printable(text)
    for symbol, plain in _ASCII.items():
        text = text.replace(symbol, plain)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def number(value: float | None, digits: int = 3) -> str:
    """At most ``digits`` decimals and about four figures; beyond a million scientific."""
    if value is None:
        return "n/a"
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    # Digits before the point eat up those after it, so that columns stay narrow.
    whole = len(f"{abs(value):.0f}")
    text = f"{value:.{max(0, min(digits, max(4, digits + 1) - whole))}f}"
    # A rounded −0.000 would suggest a sign that the value does not have.
    return text.lstrip("-") if float(text) == 0 else text


def amount(value: float) -> str:
    """A count without decimals, a tolerance in powers of ten, other numbers as ``number`` does."""
    # three decimals would show a tolerance of 1e-6 as zero
    if 0.0 < abs(value) < 1e-3:
        return f"{value:.1g}"
    return f"{value:,.0f}" if math.isfinite(value) and value == round(value) else number(value)


def interval(estimate: Estimate) -> str:
    """The estimate's interval in brackets."""
    return f"[{number(estimate.lower)}, {number(estimate.upper)}]"


def percent(part: float, whole: float) -> str:
    """A share in per cent; "n/a" of nothing."""
    return "n/a" if whole == 0 else f"{100 * part / whole:.1f} %"


def by_chance(share: float, chance: ChanceShare | None) -> str:
    """What independent networks give beside a share that relabelling removes, and the verdict."""
    if chance is None:
        return ""
    usual = f"{percent(chance.mean, 1.0)} ± {percent(2 * chance.std, 1.0)}"
    # silent beyond chance, where the share speaks for itself
    beyond = "" if share > chance.upper else ": no more than chance"
    return f"independent networks give {usual}{beyond}"


def listing(items: tuple[object, ...], limit: int = 8) -> str:
    """The first ``limit`` items, comma separated, and how many were left out."""
    shown = ", ".join(str(i) for i in items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def plural(count: int, noun: str) -> str:
    """``3 neurons``, ``1 neuron``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def sentence(text: str) -> str:
    """``text`` ended by a full stop unless it ends a sentence already."""
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."
