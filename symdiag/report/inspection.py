"""The report of ``inspect``: what a file holds, before any estimate. Field names are its JSON contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from symdiag.report.model import SCHEMA_VERSION, LayerInfo


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the file's header declares it."""

    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class WeightTensor:
    """One tensor of the posterior; ``scale_min`` and ``scale_max`` are None where it is deterministic."""

    name: str
    shape: tuple[int, ...]
    scale_min: float | None
    scale_max: float | None


@dataclass(frozen=True)
class GroupOutline:
    """A group of interchangeable units."""

    name: str
    width: int
    signed: bool
    log_order: float
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """Why the file was not understood further."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class Inspection:
    """Everything that can be said of a file without estimating anything.

    What could not be found, be it the posterior (``dialect`` and on) or only its network (``activation`` and on), is
    None or empty, and ``problem`` says why.
    ``verified`` says whether the groups were checked against a forward pass, which only the user's module allows here.
    """

    path: str
    container: str
    stored: tuple[StoredTensor, ...]
    tool: dict[str, str]
    sha256: str | None = None
    dialect: str | None = None
    scale_transform: str | None = None
    scale_range: tuple[float, float] | None = None
    parameters: int = 0
    tensors: tuple[WeightTensor, ...] = ()
    activation: str | None = None
    layers: tuple[LayerInfo, ...] = ()
    groups: tuple[GroupOutline, ...] = ()
    log_order: float | None = None
    verified: bool = False
    ignored: tuple[tuple[str, str], ...] = ()
    assumptions: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    problem: Problem | None = None
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "inspect"
