"""The report of ``inspect``: what a file holds, before any estimate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import LATER, Count
from symdiag.report.parts import ErrorObject, LayerInfo, NetworkReport, Pairs

_Shape = tuple[Count, ...]


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the file's header declares it."""

    key: str
    shape: _Shape
    dtype: str


@dataclass(frozen=True)
class WeightTensor:
    """One tensor of the posterior, and the range of its stds (null: it is deterministic)."""

    name: str
    shape: _Shape
    scale_min: float | None
    scale_max: float | None


@dataclass(frozen=True)
class GroupOutline:
    """A group of interchangeable units."""

    name: str
    width: Annotated[int, Meta(ge=1)]
    signed: bool
    log_order: Annotated[float, Meta(description="nats")]
    tensors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection(NetworkReport):
    """What a file holds, before any estimate. Fields are only ever added within version 1.

    What could not be found, be it the posterior (`dialect` and on) or only its network
    (`activation` and on), is null or empty, and `problem` says why.
    """

    path: str
    container: str
    stored: tuple[StoredTensor, ...]
    sha256: str | None = None
    dialect: str | None = None
    scale_transform: str | None = None
    scale_range: tuple[float, float] | None = None
    parameters: Count = 0
    tensors: tuple[WeightTensor, ...] = ()
    activation: str | None = None
    layers: tuple[LayerInfo, ...] = ()
    groups: tuple[GroupOutline, ...] = ()
    log_order: Annotated[float | None, Meta(description="of the whole group, nats")] = None
    verified: Annotated[
        bool,
        LATER,
        Meta(description="whether the groups were checked against the user's module"),
    ] = False
    ignored: Pairs = ()
    assumptions: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    problem: Annotated[
        ErrorObject | None,
        Meta(description="why the file was not read as a posterior; the exit code is then 2"),
    ] = None
    kind: Literal["inspect"] = "inspect"

    main_table = "tensors"


KIND = Inspection
