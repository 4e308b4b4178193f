"""The table that ``analyze`` of several files with data ends with: evidence side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from symdiag.estimate import Count, Estimate, Extended
from symdiag.report.parts import AnyReport

Quantity = Literal["elbo", "straddling_entropy", "symmetrized", "nll"]


@dataclass(frozen=True)
class Candidate:
    """One posterior's figures on the data, nats summed over the data set."""

    name: Annotated[str, Meta(description="path")]
    sha256: str
    log_order: float
    elbo: Annotated[Estimate, Meta(description="L")]
    mutual_information: Annotated[Estimate, Meta(description="I(g; ω)")]
    straddling_entropy: Annotated[Estimate, Meta(description="H(g|ω)")]
    symmetrized: Annotated[Estimate, Meta(description="L^G = L + I")]
    kl_weight: Annotated[float | None, Meta(description="null: not determined")]
    kl_weight_status: Annotated[str, Meta(description="empty: not measured")]
    pareto_k: Annotated[float | None, Meta(description="of p(D, ω)/q(ω)")]
    pareto_k_symmetrized: Annotated[float | None, Meta(description="of p(D, ω)/q^G(ω)")]
    importance_bound: Annotated[
        Estimate | None, Meta(description="log mean weight, of q^G where it was evaluated")
    ]
    test: Annotated[dict[str, Extended] | None, Meta(description="scores on the test data given")]


@dataclass(frozen=True)
class Contrast:
    """A figure of the second file less that of the first, and whether it is more than chance."""

    first: str
    second: str
    quantity: Quantity
    difference: Annotated[Extended, Meta(description="second - first; nll: nats per point")]
    std_error: Annotated[float, Meta(ge=0)] | None
    margin: Annotated[
        Extended,
        Meta(description="3 std_error, plus what the methods leave open: a difference beyond it"),
    ]
    significant: bool
    paired: Annotated[
        bool, Meta(description="the same draws, or test points, under both: their noise cancels")
    ]


@dataclass(frozen=True, kw_only=True)
class EvidenceTable(AnyReport):
    """Several posteriors on one data set. No claim that the largest L^G predicts best."""

    models: tuple[Candidate, ...]
    contrasts: Annotated[tuple[Contrast, ...], Meta(description="of every pair of files")]
    verdict: Annotated[
        Literal["told-apart", "not-told-apart"],
        Meta(description="whether L^G differs significantly between any two"),
    ]
    seed: Annotated[Count, Meta(description="of the weight draws")]
    kind: Literal["evidence"] = "evidence"

    main_table: ClassVar[str] = "models"


KIND = EvidenceTable
