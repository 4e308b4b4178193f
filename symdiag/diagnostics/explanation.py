"""What a finding code means and what to do about it: the text behind ``symdiag explain CODE``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """One stable finding code. ``reference`` cites the equation or section it rests on."""

    code: str
    title: str
    meaning: str
    action: str
    reference: str
