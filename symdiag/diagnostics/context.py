"""Everything a finding family may look at."""

from __future__ import annotations

from dataclasses import dataclass

from symdiag.diagnostics.model import GroupReport, Total, Verdict


@dataclass(frozen=True)
class Dropped:
    """A group that failed verification and was not used."""

    group: str
    error: float
    tolerance: float


@dataclass(frozen=True)
class Context:
    """A finished estimate, ready to be judged."""

    path: str
    groups: tuple[GroupReport, ...]
    total: Total
    verdict: Verdict
    max_straddling: float
    activation: str | None = None
    samples: int = 0
    notes: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    assumptions: tuple[str, ...] = ()
    prior_not_invariant: tuple[str, ...] = ()
    correlated: bool = False
    deterministic_parameters: int = 0
    parameters: int = 0
    covered_parameters: int = 0
