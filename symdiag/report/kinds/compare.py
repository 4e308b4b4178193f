"""The report of ``compare``: two reports on one architecture, number by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import Count, Extended
from symdiag.report.parts import AnyReport

Outcome = Literal["regressed", "unchanged", "improved", "inconclusive"]
_Nats = Annotated[Extended, Meta(description="nats")]


@dataclass(frozen=True)
class Compared:
    """One of the two posteriors."""

    path: str
    sha256: str
    verdict: str
    estimator: str
    samples: Count
    seed: Count


@dataclass(frozen=True)
class Difference:
    """The second posterior's figure less the first one's."""

    name: str
    before: _Nats
    after: _Nats
    difference: Annotated[Extended, Meta(description="after - before, nats")]
    std_error: Annotated[float, Meta(ge=0)] | None
    margin: Annotated[
        Extended,
        Meta(
            description="what a difference has to exceed: max(tolerance, 3 std_error), plus what "
            "the methods leave open"
        ),
    ]
    outcome: Outcome


@dataclass(frozen=True)
class ComparisonSettings:
    """What the outcome depends on."""

    tolerance: Annotated[float, Meta(description="nats")]


@dataclass(frozen=True, kw_only=True)
class Comparison(AnyReport):
    """Differences of the second posterior to the first.

    Fields are only ever added within version 1.
    """

    before: Compared
    after: Compared
    straddling_entropy: Annotated[
        tuple[Difference, ...], Meta(description="one per group, then `total`")
    ]
    mutual_information: tuple[Difference, ...]
    verdict: Outcome
    settings: ComparisonSettings
    kind: Literal["compare"] = "compare"


KIND = Comparison
