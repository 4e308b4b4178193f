"""A number and how sure we are of it, and the kinds of numbers that reports are made of.

Reports are frozen dataclasses; ``Meta`` carries what their JSON Schema says of a field
(description, range), so that the dataclass is the one declaration of its JSON, its schema and its
decoder (``symdiag.report.codec``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
"""A number of things, or the index of one."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""A fraction or a probability."""

Extended = Annotated[float, Meta(extra_json_schema={"null": "inf"})]
"""A float that may be plus infinity; JSON has no number for that, so it stands there as null."""

ExtendedBelow = Annotated[float, Meta(extra_json_schema={"null": "-inf"})]
"""A lower end: where it is null in JSON it is minus infinity."""

LATER = Meta(extra_json_schema={"later": True})
"""Marks a field added within a schema version: older reports lack it, so none is required."""

Interval = Literal["exact", "certified", "probability", "expectation", "deterministic"]
"""What ``lower``/``upper`` promise apart from Monte Carlo error over weight draws:

``exact``        each draw was evaluated exactly (to rounding);
``certified``    deterministic bounds that hold for every weight draw;
``probability``  hold with probability at least 1 - delta over the estimator's own randomness;
``expectation``  hold in expectation over omega ~ q only (sandwich; Sobolev & Vetrov 2019).
``deterministic``  bounds on the entropy itself: no draw and no Monte Carlo error enters.
"""

# Which infinity a null stands for is declared here, not guessed from a field's name.
_Lower = Annotated[ExtendedBelow, Meta(description="null: minus infinity")]
_Upper = Annotated[Extended, Meta(description="null: plus infinity")]


@dataclass(frozen=True)
class Bracket:
    """One labelled interval, Monte Carlo error over weight draws included."""

    kind: Interval
    lower: _Lower
    upper: _Upper


@dataclass(frozen=True)
class Estimate:
    """A scalar in nats.

    ``value`` ± 2 ``std_error`` is Monte Carlo error over weight draws; ``lower`` and ``upper``
    contain that and add what the method brackets. Where ``std_error`` cannot be had, they are the
    quantity's own limits.
    """

    value: Annotated[Extended, Meta(description="nats; null: not finite")]
    std_error: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Monte Carlo error over weight draws; null when it cannot be had"),
    ]
    lower: _Lower
    upper: _Upper
    method: str
    samples: Annotated[Count, Meta(description="weight draws")]
    interval: Annotated[
        Interval, Meta(description="what lower and upper promise apart from Monte Carlo error")
    ] = "exact"
    brackets: Annotated[
        tuple[Bracket, ...], Meta(description="every kind of interval that was computed")
    ] = ()
    status: Annotated[
        Literal["ok", "unbounded"],
        Meta(description="unbounded: some end of the interval is not finite, and null here"),
    ] = field(default="ok", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = (self.value, self.lower, self.upper)
        if any(map(math.isnan, ends)):
            raise ValueError("an Estimate holds no NaN")
        # Frozen, and derived: what a file says of it is not believed.
        object.__setattr__(self, "status", "ok" if all(map(math.isfinite, ends)) else "unbounded")


def modes(entropy: float) -> str:
    """exp(H), how many equivalent modes a straddling entropy amounts to, in as many figures as count."""
    if entropy >= math.log(1e300):
        # from the logarithm: exp(H) of a wide layer is beyond any double
        return f"10^{entropy / math.log(10):.1f}" if math.isfinite(entropy) else "∞"
    count = math.exp(entropy)
    if count < 1e4:
        return f"{count:.1f}" if count < 100 else f"{count:,.0f}"
    return f"{count:.1e}"
