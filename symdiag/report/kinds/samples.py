"""The report of ``samples``: label switching in draws of a network's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import LATER, Estimate, Extended, Share
from symdiag.report.parts import ChanceShare, NetworkReport, Pairs, Uncovered

SamplesVerdict = Literal[
    "label switching",
    "independent members",
    "no more than chance",
    "one labelling",
    "not-applicable",
]
_Labellings = Annotated[int, Meta(ge=1, description="Different labellings seen.")]


@dataclass(frozen=True)
class DrawsInfo:
    """What was read."""

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    draws: Annotated[int, Meta(ge=2)]
    chains: Annotated[int | None, Meta(description="null: the draws are not said to be chains")]
    parameters: int
    covered_parameters: int
    activation: str | None
    uncovered: tuple[Uncovered, ...] = ()
    ignored: Pairs = ()
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitSwitching:
    """One unit of the majority labelling."""

    index: int
    moved: Annotated[Share, Meta(description="Draws in which another unit has this place.")]
    flipped: Annotated[Share, Meta(description="Draws in which it is there with its sign changed.")]


@dataclass(frozen=True)
class GroupSwitchingReport:
    """One group; H is that of the Gaussian with the draws' moments, as they came and aligned."""

    name: str
    width: int
    signed: bool
    log_order: float
    off: Annotated[Share, Meta(description="Draws off the group's majority labelling.")]
    labellings: _Labellings
    straddling_before: Estimate
    straddling_after: Estimate
    units: tuple[UnitSwitching, ...]


@dataclass(frozen=True)
class TensorMoments:
    """Sums over the tensor's weights: squared means over draws, variances over draws (ddof 1)."""

    name: str
    weights: int
    mean_square_before: float
    mean_square_after: float
    variance_before: float
    variance_after: float


@dataclass(frozen=True)
class RhatReport:
    """Split R-hat over the weights that vary; null: infinite."""

    worst: Extended
    median: Extended
    above: Annotated[Share, Meta(description="Weights above 1.01.")]


@dataclass(frozen=True)
class SamplesSettings:
    """What the numbers depend on."""

    seed: int
    starts: int | None
    samples: int | None
    max_switching: float


@dataclass(frozen=True, kw_only=True)
class SamplesReport(NetworkReport):
    """Label switching in draws of a network's weights.

    Fields are only ever added within version 1.
    """

    input: DrawsInfo
    off: Annotated[
        Share, Meta(description="Draws off the most frequent labelling of all groups together.")
    ]
    labellings: _Labellings
    log_order: Annotated[float, Meta(description="log|G|, nats.")]
    groups: tuple[GroupSwitchingReport, ...]
    tensors: tuple[TensorMoments, ...]
    variance_before: float
    variance_after: float
    relabelling_share: Annotated[
        Share, Meta(description="Part of the variance over draws that relabelling removes.")
    ]
    rhat_before: RhatReport | None
    rhat_after: RhatReport | None
    two_modes: Annotated[
        float | None,
        Meta(
            description="Share of the variance along the aligned draws' main direction that a "
            "split in two explains (0.64 for a Gaussian, near 1 for two modes); null for few draws."
        ),
    ]
    straddling_before: Annotated[
        Estimate, Meta(description="H(g|ω) of the Gaussian with the draws' raw moments")
    ]
    straddling_after: Annotated[
        Estimate, Meta(description="H(g|ω) of the Gaussian with the aligned draws' moments")
    ]
    converged: bool
    agreement: Annotated[Share, Meta(description="Starts that reached the best alignment.")]
    notes: tuple[str, ...]
    verdict: SamplesVerdict
    settings: SamplesSettings
    chance: Annotated[
        ChanceShare | None,
        LATER,
        Meta(description="of `relabelling_share`; null: too much work, or no draw is off"),
    ] = None
    distinct: Annotated[
        Annotated[int, Meta(ge=1)] | None, LATER, Meta(description="different draws among them")
    ] = None
    kind: Literal["samples"] = "samples"


KIND = SamplesReport
