"""What a diagnosis consists of: units, clusters, groups, totals, findings (field names are the JSON contract)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symdiag.estimate import Estimate

Verdict = Literal["ok", "straddling", "inconclusive", "not-applicable"]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class NeuronInfo:
    """One unit of a group.

    ``retention``: P(π(i) = i | ω) averaged over draws. ``nearest``: index of its closest twin.
    ``separation``: distance to it in posterior stds. ``mean_shift``: Euclidean size, in posterior stds,
    of the data-free predicted shift of its means (σ·∂H/∂μ); ``log_std_shift``: predicted mean change
    of its log stds (−∂H/∂log σ per weight). See DESIGN.md 1.2.
    """

    index: int
    retention: float
    nearest: int | None
    separation: float | None
    collapsed: bool
    mean_shift: float
    log_std_shift: float


@dataclass(frozen=True)
class Cluster:
    """Units that exchange labels with each other under the posterior."""

    neurons: tuple[int, ...]
    collapsed: bool
    straddling_entropy: float


@dataclass(frozen=True)
class GroupReport:
    """One group of interchangeable units."""

    name: str
    width: int
    signed: bool
    log_order: float
    straddling_entropy: Estimate
    mutual_information: Estimate
    effective_modes: float | None  # exp(H); None when it overflows a double
    neurons: tuple[NeuronInfo, ...]
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True)
class Total:
    """The whole symmetry group."""

    log_order: float
    straddling_entropy: Estimate
    mutual_information: Estimate
    effective_modes: float | None


@dataclass(frozen=True)
class Finding:
    """One finding with a stable code (``symdiag explain CODE``)."""

    code: str
    severity: Severity
    group: str | None
    neurons: tuple[int, ...]
    message: str
    measured: float | None
    threshold: float | None
    hint: str
