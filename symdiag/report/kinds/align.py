"""The report of ``align``: one posterior matched to one reference, distances in the cost's unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import LATER
from symdiag.report.parts import ChanceShare, NetworkReport, Side

CertificateStatus = Literal["optimal", "bounded", "not-certified"]
AlignVerdict = Literal["same mode up to symmetry", "same function, different mode", "different"]


@dataclass(frozen=True)
class UnitMatch:
    """A unit of the reference and the unit of the model that is matched to it."""

    index: Annotated[int, Meta(description="the reference's unit")]
    source: Annotated[int, Meta(description="the model's unit matched to it")]
    sign: Annotated[int, Meta(extra_json_schema={"enum": [-1, 1]})]
    cost: Annotated[
        float, Meta(description="of this match; tensors shared with other groups count in full")
    ]
    margin: Annotated[
        float | None,
        Meta(
            description="rise of the total if the unit had to take another match or sign, "
            "other groups held fixed; null when there is no other"
        ),
    ]
    ambiguous: bool


@dataclass(frozen=True)
class GroupAlignment:
    """One group of units."""

    name: str
    width: int
    signed: bool
    transpositions: Annotated[
        int, Meta(description="fewest swaps that undo the permutation: width - its cycles")
    ]
    moved: int
    flipped: int
    least_margin: float | None
    margins_exact: bool
    ambiguous: tuple[int, ...]
    units: tuple[UnitMatch, ...]


@dataclass(frozen=True)
class Distance:
    """Total cost before and after alignment."""

    cost: str
    unit: str
    before: float
    after: float
    relabelling_share: Annotated[
        float, Meta(description="part of the distance that permutations and signs removed")
    ]
    chance: Annotated[
        ChanceShare | None, LATER, Meta(description="null: too much work, or nothing removed")
    ] = None


@dataclass(frozen=True)
class Proof:
    """How good the alignment is known to be; ``lower_bound`` on the distance after any other."""

    status: CertificateStatus
    statement: str
    lower_bound: float
    gap: float
    method: str
    agreement: Annotated[float, Meta(description="of the independent starts: share that agree")]
    starts: int


@dataclass(frozen=True)
class Agreement:
    """How far two posteriors lie apart, weight by weight."""

    standard_difference: Annotated[
        float | None,
        Meta(description="RMS of (μ − μ')/√(σ² + σ'²) over informative weights"),
    ]
    unexplained: Annotated[float, Meta(description="share of the means left unexplained")]


@dataclass(frozen=True)
class PathReport:
    """Predictive NLL (nats per point) and ELBO (nats) along the path, and their barriers."""

    nll: tuple[float, ...]
    elbo: Annotated[tuple[float, ...], Meta(description="lacks the KL term without a prior")]
    barrier: float
    elbo_barrier: float


@dataclass(frozen=True)
class OnData:
    """What the data given say of the two functions."""

    path: str
    points: int
    samples: int
    likelihood: str
    has_prior: bool
    function_gap: Annotated[
        float,
        Meta(
            description="mean absolute difference of the two posteriors' pointwise predictive "
            "log-likelihoods, nats"
        ),
    ]
    function_change: Annotated[
        float,
        Meta(description="largest relative change of the model's outputs by the alignment itself"),
    ]
    positions: tuple[float, ...]
    before: PathReport
    after: PathReport
    function_gap_error: Annotated[
        float | None, LATER, Meta(description="standard error over the points")
    ] = None
    output_difference: Annotated[
        float | None,
        LATER,
        Meta(description="RMS difference of the mean outputs, in stds of both posteriors' outputs"),
    ] = None


@dataclass(frozen=True)
class AlignSettings:
    """What the numbers depend on."""

    seed: int
    cost: str
    restarts: int | None


@dataclass(frozen=True)
class AlignedTo:
    """The part of an alignment that ``analyze --reference`` keeps."""

    reference: Side
    distance: Distance
    certificate: Proof
    before: Annotated[Agreement | None, LATER]
    after: Annotated[Agreement | None, LATER]
    verdict: AlignVerdict
    groups: Annotated[tuple[GroupAlignment, ...], LATER]


@dataclass(frozen=True, kw_only=True)
class AlignReport(NetworkReport):
    """One model matched to one reference. Fields are only ever added within version 1."""

    model: Side
    reference: Side
    groups: tuple[GroupAlignment, ...]
    distance: Distance
    certificate: Proof
    before: Agreement
    after: Agreement
    verdict: AlignVerdict
    settings: AlignSettings
    data: OnData | None = None
    assumptions: tuple[str, ...] = ()
    kind: Literal["align"] = "align"


KIND = AlignReport
