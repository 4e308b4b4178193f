"""The report of ``analyze`` as frozen dataclasses; field names are the JSON contract (DESIGN.md, section 2)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symdiag.diagnostics.model import (
    Cluster,
    Finding,
    GroupReport,
    NeuronInfo,
    Severity,
    Total,
    Verdict,
)
from symdiag.estimate import Estimate

__all__ = [
    "SCHEMA_VERSION",
    "Cluster",
    "Elbo",
    "Finding",
    "GroupReport",
    "LayerInfo",
    "ModelInfo",
    "NeuronInfo",
    "Report",
    "Settings",
    "Severity",
    "Total",
    "Uncovered",
    "Verdict",
    "to_plain",
]

SCHEMA_VERSION = 1


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
class Elbo:
    """Evidence terms on the data given, nats summed over the data set."""

    standard: Estimate
    symmetrized: Estimate
    expected_log_likelihood: Estimate
    kl: float
    likelihood: str = "gaussian"
    noise_std: float | None = None  # of the gaussian likelihood


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on."""

    seed: int
    samples: int
    estimator: str
    max_straddling: float


@dataclass(frozen=True)
class Baseline:
    """The paper's estimate I^K of I (Gelberg et al. 2024, Thm 4.3), which cannot exceed ``ceiling``."""

    num_elements: int
    ceiling: float  # log K, nats
    mutual_information: Estimate
    saturated: bool  # within two standard errors of the ceiling


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
    baseline: Baseline | None = None  # when asked for
    alignment: dict[str, Any] | None = (
        None  # as in ``symdiag schema align``, when there is a reference
    )
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "analyze"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: no NaN, non-finite numbers become null (see ``status`` on estimates)."""
        return to_object(self)


def to_object(report: Any) -> dict[str, Any]:
    """A report dataclass of any kind as its JSON object: what identifies it first, what is volatile last."""
    plain: dict[str, Any] = to_plain(report)
    first = {key: plain.pop(key) for key in ("schema_version", "kind", "tool")}
    last: dict[str, Any] = {
        key: plain.pop(key) for key in ("findings", "verdict", "settings", "run") if key in plain
    }
    return {**first, **plain, **last}


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
        return {to_plain(str(k)): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode(
            "utf-8"
        )  # a path may hold undecodable bytes
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
