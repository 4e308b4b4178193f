"""The report of ``analyze`` as frozen dataclasses; field names are the JSON contract (DESIGN.md, section 2)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from symdiag.estimate import Estimate

SCHEMA_VERSION = 1

Verdict = Literal["ok", "straddling", "inconclusive", "not-applicable"]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class LayerInfo:
    """One tensor-owning layer of the model."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Uncovered:
    """A parameter tensor that no group touches, and why."""

    name: str
    parameters: int
    reason: str


@dataclass(frozen=True)
class ModelInfo:
    """What was read. ``assumptions`` lists everything the file could not tell."""

    path: str
    sha256: str
    format: str  # "container/dialect", e.g. "torch-zip/bayesian-torch"
    parameters: int
    covered_parameters: int
    activation: str | None
    layers: tuple[LayerInfo, ...]
    scale_transform: str = ""
    scale_range: tuple[float, float] | None = None  # of the non-deterministic weights
    deterministic_parameters: int = 0
    uncovered: tuple[Uncovered, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()  # (key, reason)
    assumptions: tuple[str, ...] = ()


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
class Elbo:
    """Evidence terms on the data given, nats summed over the data set."""

    standard: Estimate
    symmetrized: Estimate
    expected_log_likelihood: Estimate
    kl: float


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


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on."""

    seed: int
    samples: int
    estimator: str
    max_straddling: float


@dataclass(frozen=True)
class Report:
    """Everything ``analyze`` found out about one posterior."""

    model: ModelInfo
    groups: tuple[GroupReport, ...]
    total: Total
    findings: tuple[Finding, ...]
    verdict: Verdict
    settings: Settings
    tool: dict[str, str]
    elbo: Elbo | None = None
    test: dict[str, float] | None = None
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "analyze"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: no NaN, non-finite numbers become null (see ``status`` on estimates)."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and arrays as plain JSON types; non-finite floats as None.

    An Estimate gains ``status``: "ok", or "unbounded" when an end of its interval is not finite.
    """
    if isinstance(value, Estimate):
        plain = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        finite = all(math.isfinite(x) for x in (value.value, value.lower, value.upper))
        return {**plain, "status": "ok" if finite else "unbounded"}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
