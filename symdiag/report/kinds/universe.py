"""The report of ``align --universe``: several posteriors in one common labelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import LATER
from symdiag.report.kinds.align import AlignSettings, CertificateStatus
from symdiag.report.parts import ChanceShare, NetworkReport, Side


@dataclass(frozen=True)
class SpreadReport:
    """Variance between runs and within them, summed over weights."""

    between: float
    within: float
    rhat: Annotated[float | None, Meta(description="sqrt(1 + between/within)")]
    worst: Annotated[float | None, Meta(description="R-hat of the worst weight")]
    per_tensor: Annotated[dict[str, float | None], Meta(description="R-hat by tensor")]


@dataclass(frozen=True)
class RunAlignment:
    """One run in the universe; by group: what stands at each of its units, and with which sign."""

    model: Side
    distance_before: float
    distance: float
    status: CertificateStatus
    transpositions: dict[str, int]
    permutations: dict[str, tuple[int, ...]]
    signs: dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class UniverseReport(NetworkReport):
    """Several models in one common labelling. Fields are only ever added within version 1."""

    runs: tuple[RunAlignment, ...]
    before: SpreadReport
    after: SpreadReport
    worst_pair: Annotated[
        float | None,
        Meta(description="largest difference of two aligned runs, in posterior stds"),
    ]
    verdict: Literal["same mode up to symmetry", "different"]
    settings: AlignSettings
    relabelling_share: Annotated[
        float, LATER, Meta(description="part of the between-run variance that relabelling removes")
    ] = 0.0
    chance: Annotated[
        ChanceShare | None,
        LATER,
        Meta(
            description="the same for independent networks; null: too much work, or nothing removed"
        ),
    ] = None
    assumptions: tuple[str, ...] = ()
    kind: Literal["universe"] = "universe"


KIND = UniverseReport
