"""The reports of ``align`` as frozen dataclasses; field names are their JSON contract (``symdiag schema align``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from symdiag.report.model import SCHEMA_VERSION, to_object


@dataclass(frozen=True)
class Side:
    """One of the files compared."""

    path: str
    sha256: str
    format: str


@dataclass(frozen=True)
class UnitMatch:
    """Reference unit ``index`` is matched by the model's unit ``source``, times ``sign``.

    ``cost``: of this match, tensors shared with other groups counted in full. ``margin``: rise of the total if the
    unit had to take another match or sign, other groups held fixed; null when there is no other.
    """

    index: int
    source: int
    sign: int
    cost: float
    margin: float | None
    ambiguous: bool


@dataclass(frozen=True)
class GroupAlignment:
    """One group of units. ``transpositions``: fewest swaps that undo the permutation, n − its cycles."""

    name: str
    width: int
    signed: bool
    transpositions: int
    moved: int
    flipped: int
    least_margin: float | None
    margins_exact: bool
    ambiguous: tuple[int, ...]
    units: tuple[UnitMatch, ...]


@dataclass(frozen=True)
class Distance:
    """Total cost before and after; ``relabelling_share`` is the part of it that permutations and signs removed."""

    cost: str
    unit: str
    before: float
    after: float
    relabelling_share: float


@dataclass(frozen=True)
class Proof:
    """How good the alignment is known to be: see ``symdiag.alignment.Certificate``."""

    status: str
    statement: str
    lower_bound: float
    gap: float
    method: str
    agreement: float
    starts: int


@dataclass(frozen=True)
class Agreement:
    """``standard_difference``: RMS of (μ − μ')/√(σ² + σ'²) over informative weights; ``unexplained``: of the means."""

    standard_difference: float | None
    unexplained: float


@dataclass(frozen=True)
class PathReport:
    """Predictive NLL (nats per point) and ELBO (nats) along the straight path, and their barriers."""

    nll: tuple[float, ...]
    elbo: tuple[float, ...]
    barrier: float
    elbo_barrier: float


@dataclass(frozen=True)
class OnData:
    """What the data given say. ``elbo`` entries lack the KL term when ``has_prior`` is false.

    ``function_gap``: mean absolute difference of the two posteriors' pointwise predictive log-likelihoods, nats.
    ``function_change``: largest relative change of the model's outputs (at its means) by the alignment itself.
    """

    path: str
    points: int
    samples: int
    likelihood: str
    has_prior: bool
    function_gap: float
    function_change: float
    positions: tuple[float, ...]
    before: PathReport
    after: PathReport


@dataclass(frozen=True)
class AlignSettings:
    """What the numbers depend on."""

    seed: int
    cost: str
    restarts: int | None


@dataclass(frozen=True)
class AlignReport:
    """One model aligned to one reference."""

    model: Side
    reference: Side
    groups: tuple[GroupAlignment, ...]
    distance: Distance
    certificate: Proof
    before: Agreement
    after: Agreement
    verdict: str
    settings: AlignSettings
    tool: dict[str, str]
    data: OnData | None = None
    assumptions: tuple[str, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "align"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return to_object(self)


@dataclass(frozen=True)
class SpreadReport:
    """Variance between runs and within them, summed over weights; ``rhat`` = √(1 + between/within)."""

    between: float
    within: float
    rhat: float | None
    worst: float | None
    per_tensor: dict[str, float | None]


@dataclass(frozen=True)
class RunAlignment:
    """One run in the universe. ``permutations`` and ``signs``: group name → per universe unit."""

    model: Side
    distance_before: float
    distance: float
    status: str
    transpositions: dict[str, int]
    permutations: dict[str, tuple[int, ...]]
    signs: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class UniverseReport:
    """Several models in one common labelling. ``worst_pair``: largest standard difference of two aligned runs."""

    runs: tuple[RunAlignment, ...]
    before: SpreadReport
    after: SpreadReport
    worst_pair: float | None
    verdict: str
    settings: AlignSettings
    tool: dict[str, str]
    assumptions: tuple[str, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "universe"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return to_object(self)
