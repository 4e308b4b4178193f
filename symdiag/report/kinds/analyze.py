"""The report of ``analyze``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.diagnostics.diagnosis import (
    Coverage,
    Finding,
    GroupReport,
    Importance,
    StraddlingVerdict,
    Total,
)
from symdiag.diagnostics.kl_weight.result import KlWeight
from symdiag.estimate import LATER, Count, Estimate, Extended
from symdiag.report.kinds.align import AlignedTo
from symdiag.report.parts import LayerInfo, NetworkReport, Pairs, Uncovered

_Scalars = Annotated[Count, Meta(description="scalar weights")]


@dataclass(frozen=True)
class ModelInfo:
    """What was read. ``assumptions`` lists everything the file could not tell."""

    path: str
    sha256: str
    format: Annotated[str, Meta(description="container/dialect")]
    parameters: _Scalars
    covered_parameters: Annotated[Count, Meta(description="of them in some group")]
    activation: Annotated[
        str | None, Meta(description="null: unknown, only permutations were considered")
    ]
    layers: tuple[LayerInfo, ...]
    scale_transform: Annotated[str, Meta(description="how the file stores scales")] = ""
    scale_range: Annotated[
        tuple[float, float] | None,
        Meta(description="least and largest std of the weights that are random"),
    ] = None
    deterministic_parameters: Annotated[Count, Meta(description="weights of zero width")] = 0
    uncovered: tuple[Uncovered, ...] = ()
    ignored: Pairs = ()
    assumptions: tuple[str, ...] = ()
    read_with: Annotated[
        tuple[str, ...],
        LATER,
        Meta(description="the command line's options that said how to read it"),
    ] = ()


@dataclass(frozen=True)
class Elbo:
    """Evidence terms on the data given, nats summed over the data set."""

    standard: Estimate
    symmetrized: Estimate
    expected_log_likelihood: Estimate
    kl: Annotated[Extended, Meta(description="nats")]
    likelihood: str = "gaussian"
    noise_std: Annotated[float | None, Meta(description="where the likelihood has one")] = None
    importance: Annotated[
        Importance | None, LATER, Meta(description="how near q is to the posterior")
    ] = None
    kl_weight: Annotated[
        KlWeight | None, LATER, Meta(description="that the posterior was trained with")
    ] = None


@dataclass(frozen=True)
class LaplaceEvidence:
    """log p(Y|X) by Laplace's method, from the file of a Laplace approximation alone, nats.

    ``uncorrected`` is what laplace-torch's ``log_marginal_likelihood()`` gives: the mass about one
    of the |G| equivalent modes. ``corrected`` = ``uncorrected`` + I(g; ω) counts all of them, once
    where they overlap.
    """

    log_likelihood: Annotated[float | None, Meta(description="of the means; null: not in the file")]
    log_det_ratio: Annotated[float, Meta(description="of posterior to prior precision")]
    scatter: Annotated[float, Meta(description="squared distance to the prior means, prior stds")]
    uncorrected: float | None
    corrected: Estimate | None
    left_out: Annotated[str, Meta(description="why a figure is missing; else empty")] = ""


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on."""

    seed: Annotated[Count, Meta(description="of the weight draws")]
    samples: Annotated[Count, Meta(description="weight draws")]
    estimator: str
    max_straddling: Annotated[
        float, Meta(description="limit on the total straddling entropy, nats")
    ]


@dataclass(frozen=True)
class Baseline:
    """The paper's estimate I^K of I (Gelberg et al. 2024, Thm 4.3), capped by its ceiling."""

    num_elements: Annotated[int, Meta(ge=2, description="K")]
    ceiling: Annotated[float, Meta(description="log K, nats: I^K cannot exceed it")]
    mutual_information: Estimate
    saturated: Annotated[bool, Meta(description="within two standard errors of the ceiling")]


@dataclass(frozen=True, kw_only=True)
class Report(NetworkReport):
    """Everything ``analyze`` found out about one posterior.

    Within version 1 fields are only ever added; readers must ignore fields they do not know. All
    information in nats. Everything volatile is in `run`.
    """

    model: ModelInfo
    groups: tuple[GroupReport, ...]
    total: Total
    findings: tuple[Finding, ...]
    verdict: Annotated[
        StraddlingVerdict, Meta(description="`inconclusive` where the network is only assumed")
    ]
    settings: Settings
    verdict_if_chain: Annotated[
        StraddlingVerdict | None,
        LATER,
        Meta(description="on an assumed network: the verdict if it is a plain chain"),
    ] = None
    elbo: Elbo | None = None
    test: Annotated[
        dict[str, Extended] | None, Meta(description="scores on the test data given")
    ] = None
    coverage: Annotated[
        tuple[Coverage, ...],
        LATER,
        Meta(description="predictive intervals on the test data, where targets have an order"),
    ] = ()
    laplace: Annotated[
        LaplaceEvidence | None, LATER, Meta(description="of a Laplace approximation")
    ] = None
    baseline: Annotated[Baseline | None, LATER, Meta(description="with --infonce")] = None
    alignment: Annotated[
        AlignedTo | None,
        LATER,
        Meta(description="with --reference: the parts of an align report of the same names"),
    ] = None
    kind: Literal["analyze"] = "analyze"


KIND = Report
