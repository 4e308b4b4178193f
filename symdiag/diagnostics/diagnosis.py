"""What a diagnosis consists of: units, clusters, groups, totals, findings and their context.

Field names are the JSON contract of ``analyze``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.diagnostics.kl_weight.result import KlWeight
from symdiag.estimate import LATER, Count, Estimate, Extended, Share

StraddlingVerdict = Literal["ok", "straddling", "inconclusive", "not-applicable"]
Severity = Literal["info", "warning", "error"]

MAX_CONFUSION = 64
"""Units of a group up to which its label confusion is reported: 4096 numbers, 80 kB of JSON."""

Width = Annotated[int, Meta(ge=1, description="units")]
LogOrder = Annotated[float, Meta(description="log of the group's order, nats")]
_Modes = Annotated[
    float | None, Meta(description="exp of the straddling entropy; null when it overflows")
]


@dataclass(frozen=True)
class NeuronInfo:
    """One unit of a group.

    The shifts are the first step of symmetrised training, predicted without data
    (docs/theory/straddling.md): the Euclidean size of σ·∂H/∂μ over the unit's means, and the mean
    of −∂H/∂log σ over its weights.
    """

    index: Annotated[Count, Meta(description="unit in the file's order")]
    retention: Annotated[
        float, Meta(description="probability that a weight draw leaves the unit its own label")
    ]
    nearest: Annotated[int | None, Meta(description="closest twin")]
    separation: Annotated[float | None, Meta(description="distance to it in posterior stds")]
    collapsed: bool
    mean_shift: Annotated[
        Extended, Meta(description="predicted shift of its means, posterior stds")
    ]
    log_std_shift: Annotated[Extended, Meta(description="predicted mean change of its log stds")]
    signal_in: Annotated[
        float | None,
        LATER,
        Meta(
            description="root mean square of μ/σ over the random weights into the unit, biases "
            "left out; null without any"
        ),
    ] = None
    signal_out: Annotated[
        float | None, LATER, Meta(description="the same over the weights that leave it")
    ] = None


@dataclass(frozen=True)
class Cluster:
    """Units that exchange labels with each other under the posterior."""

    neurons: tuple[Count, ...]
    collapsed: bool
    straddling_entropy: Annotated[Extended, Meta(description="nats")]


@dataclass(frozen=True)
class GroupReport:
    """One group of interchangeable units."""

    name: str
    width: Width
    signed: Annotated[bool, Meta(description="sign flips included")]
    log_order: LogOrder
    straddling_entropy: Estimate
    mutual_information: Estimate
    effective_modes: _Modes
    neurons: tuple[NeuronInfo, ...]
    clusters: tuple[Cluster, ...]
    change_without_collapsed: Annotated[
        float | None,
        LATER,
        Meta(
            description="change of the mean function without the collapsed units of all groups, "
            "predictive stds (root mean square over inputs), or a bound on it; null without any"
        ),
    ] = None
    change_measured: Annotated[
        bool, LATER, Meta(description="whether it was measured through the forward pass")
    ] = False
    confusion: Annotated[
        tuple[tuple[Share, ...], ...] | None,
        LATER,
        Meta(
            description="row i, column j: probability that unit j stands in place i once a weight "
            "draw is relabelled, whatever its sign, to 4 decimals; null beyond 64 units"
        ),
    ] = None


@dataclass(frozen=True)
class Total:
    """The whole symmetry group."""

    log_order: LogOrder
    straddling_entropy: Estimate
    mutual_information: Estimate
    effective_modes: _Modes


@dataclass(frozen=True)
class Finding:
    """One finding with a stable code."""

    code: Annotated[str, Meta(description="see `symdiag explain CODE`")]
    severity: Severity
    group: str | None
    neurons: tuple[Count, ...]
    message: str
    measured: float | None
    threshold: float | None
    hint: Annotated[str, Meta(description="what to do next")]


@dataclass(frozen=True)
class Diagnosis:
    """Groups and their total."""

    groups: tuple[GroupReport, ...]
    total: Total


@dataclass(frozen=True)
class ImportanceFit:
    """What the weights p(D, ω)/density(ω) of draws say of a density as an approximation.

    ``bound`` is log mean weight, on average a lower bound on log p(Y|X) and within log 20 nats above
    it in 95 % of cases, whatever the tail.
    """

    pareto_k: Annotated[
        float | None, Meta(description="shape of the weights' tail; null: too few differ")
    ]
    std_error: Annotated[float, Meta(ge=0)] | None
    reliable_below: Annotated[
        float, Meta(description="k up to which this many weights can be trusted")
    ]
    effective_draws: Annotated[float, Meta(ge=0)]
    bound: Estimate

    @property
    def far(self) -> bool:
        """Whether the tail is surely too heavy: by one standard error of k̂."""
        k, error = self.pareto_k, self.std_error
        return k is not None and error is not None and k - error > self.reliable_below


@dataclass(frozen=True)
class Importance:
    """Importance weights of the posterior q and of its symmetrisation q^G, same draws."""

    plain: ImportanceFit
    symmetrized: ImportanceFit | None
    left_out: Annotated[str, Meta(description="why there is no symmetrized; else empty")] = ""


@dataclass(frozen=True)
class Coverage:
    """Share of test targets inside the central predictive interval of a nominal level.

    ``lower`` and ``upper`` are the exact binomial 95 % interval for that many points; several outputs
    of one point count as one.
    """

    level: Share
    share: Share
    lower: Share
    upper: Share
    points: Count


@dataclass(frozen=True)
class Dropped:
    """A group that failed verification and was not used."""

    group: str
    error: float
    tolerance: float


@dataclass(frozen=True)
class Context:
    """Everything a finding family may look at: a finished estimate, ready to be judged.

    ``analyze``, ``retrain`` and ``prune``: the commands that repeat the analysis, retrain the
    posterior and leave its collapsed units out, with the options of this call; empty where there
    is none.
    """

    path: str
    groups: tuple[GroupReport, ...]
    total: Total
    verdict: StraddlingVerdict
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
    analyze: str = ""
    retrain: str = ""
    prune: str = ""
    assumed_network: str = ""  # why the network is only assumed
    verdict_if_chain: StraddlingVerdict | None = None
    importance: Importance | None = None
    coverage: tuple[Coverage, ...] = ()
    kl_weight: KlWeight | None = None  # where data are given
