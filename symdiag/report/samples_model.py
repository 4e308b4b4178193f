"""The report of ``samples`` as frozen dataclasses; field names are its JSON contract (``symdiag schema samples``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from symdiag.estimate import Estimate
from symdiag.report.model import SCHEMA_VERSION, Uncovered, to_object

SamplesVerdict = Literal["label switching", "one labelling", "not-applicable"]


@dataclass(frozen=True)
class DrawsInfo:
    """What was read. ``chains``: None where the draws are not said to be chains."""

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    draws: int
    chains: int | None
    parameters: int
    covered_parameters: int
    activation: str | None
    uncovered: tuple[Uncovered, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()  # (key, reason)
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitSwitching:
    """One unit of the majority labelling: fraction of draws with another in its place, or with its sign changed."""

    index: int
    moved: float
    flipped: float


@dataclass(frozen=True)
class GroupSwitchingReport:
    """One group. ``off``: fraction of draws off its majority labelling; ``labellings``: how many were seen."""

    name: str
    width: int
    signed: bool
    log_order: float
    off: float
    labellings: int
    straddling_before: Estimate
    straddling_after: Estimate
    units: tuple[UnitSwitching, ...]


@dataclass(frozen=True)
class TensorMoments:
    """One tensor before and after alignment: squared means and variances over draws (ddof 1), summed over weights."""

    name: str
    weights: int
    mean_square_before: float
    mean_square_after: float
    variance_before: float
    variance_after: float


@dataclass(frozen=True)
class RhatReport:
    """Split R-hat over weights. ``above``: fraction of the weights above 1.01."""

    worst: float
    median: float
    above: float


@dataclass(frozen=True)
class SamplesSettings:
    """What the numbers depend on."""

    seed: int
    starts: int | None
    samples: int | None
    max_switching: float


@dataclass(frozen=True)
class SamplesReport:
    """Label switching in draws of a network's weights.

    ``off``: fraction of draws off the most frequent labelling of all groups together; ``relabelling_share``: the part
    of the variance over draws that relabelling removes; ``straddling_before``, ``straddling_after``: H(g|ω) of the
    Gaussian with the draws' raw moments, and with those of the aligned draws. ``two_modes``: share of the variance
    along the aligned draws' main direction that a split in two explains (0.64 for a Gaussian, near 1 for two modes).
    """

    input: DrawsInfo
    off: float
    labellings: int
    log_order: float
    groups: tuple[GroupSwitchingReport, ...]
    tensors: tuple[TensorMoments, ...]
    variance_before: float
    variance_after: float
    relabelling_share: float
    rhat_before: RhatReport | None
    rhat_after: RhatReport | None
    two_modes: float | None
    straddling_before: Estimate
    straddling_after: Estimate
    converged: bool
    agreement: float
    notes: tuple[str, ...]
    verdict: SamplesVerdict
    settings: SamplesSettings
    tool: dict[str, str]
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "samples"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return to_object(self)
