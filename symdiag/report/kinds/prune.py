"""The report of ``prune``: a posterior and the narrower one without its collapsed units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import Count, Estimate, Extended
from symdiag.report.kinds.analyze import ModelInfo
from symdiag.report.kinds.retrain import Change, TestScores
from symdiag.report.parts import NetworkReport

PruneVerdict = Literal["pruned", "nothing to prune"]


@dataclass(frozen=True)
class Removed:
    """One group: which units went."""

    group: str
    units: Annotated[tuple[Count, ...], Meta(description="in the order of the wide file")]
    width: Annotated[int, Meta(ge=1, description="before")]
    left: Annotated[int, Meta(ge=1, description="after")]


@dataclass(frozen=True)
class Stage:
    """One posterior: the wide one, the narrower one, and the narrower one trained on."""

    name: Annotated[str, Meta(description="before, pruned or polished")]
    widths: tuple[int, ...]
    parameters: Count
    log_order: Annotated[float, Meta(description="log of the group's order, nats")]
    straddling_entropy: Estimate
    predictive_std: Annotated[
        Extended, Meta(description="of the outputs over weight draws, root mean square")
    ]
    elbo: Annotated[Estimate | None, Meta(description="null without data")]
    symmetrized: Estimate | None
    log_likelihood: Estimate | None
    kl: float | None
    noise_std: float | None
    test: TestScores | None


@dataclass(frozen=True)
class PruneSettings:
    """Everything that was chosen, by the user or by default."""

    tolerance: float
    seed: int
    samples: Annotated[int | None, Meta(description="weight draws of the evaluation; null: none")]
    polish_steps: Count
    likelihood: str | None
    noise: str | None
    inputs: Annotated[str, Meta(description="where the mean function was compared")]


@dataclass(frozen=True, kw_only=True)
class PruneReport(NetworkReport):
    """A posterior and the narrower one; nats. Fields are only ever added within version 1."""

    model: ModelInfo
    removed: tuple[Removed, ...]
    mean_change: Annotated[
        float,
        Meta(description="change of the mean function, predictive stds, root mean square"),
    ]
    stages: tuple[Stage, ...]
    changes: Annotated[
        tuple[Change, ...],
        Meta(description="pruned − before, paired by weight noise and test point; with data"),
    ]
    changes_polished: tuple[Change, ...]
    statement: Annotated[str, Meta(description="what the comparison is and is not")]
    output: Annotated[str | None, Meta(description="null: nothing was written")]
    verdict: PruneVerdict
    settings: PruneSettings
    kind: Literal["prune"] = "prune"

    main_table = "stages"


KIND = PruneReport
