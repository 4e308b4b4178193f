"""A number and how sure we are of it: the ``E`` object of the JSON contract (DESIGN.md, section 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Interval = Literal["exact", "certified", "probability", "expectation"]
"""What ``lower``/``upper`` promise apart from Monte Carlo error over weight draws:

``exact``        each draw was evaluated exactly (to rounding);
``certified``    deterministic bounds that hold for every weight draw;
``probability``  hold with probability at least 1 - delta over the estimator's own randomness;
``expectation``  hold in expectation over omega ~ q only (sandwich; Sobolev & Vetrov 2019).
"""


@dataclass(frozen=True)
class Bracket:
    """One labelled interval, Monte Carlo error over weight draws included."""

    kind: Interval
    lower: float
    upper: float


@dataclass(frozen=True)
class Estimate:
    """A scalar estimate in nats.

    ``value ± 2 std_error`` is Monte Carlo error over weight draws; ``lower``/``upper`` contain that and
    what the method brackets. ``std_error`` is None when it cannot be had (a single draw), and
    ``lower``/``upper`` are then the quantity's own limits. ``brackets`` lists every kind of interval that
    was computed, apart from each other; ``interval`` names the headline one.
    """

    value: float
    std_error: float | None
    lower: float
    upper: float
    method: str
    samples: int
    interval: Interval = "exact"
    brackets: tuple[Bracket, ...] = ()

    def __post_init__(self) -> None:
        if math.isnan(self.value) or math.isnan(self.lower) or math.isnan(self.upper):
            raise ValueError("an Estimate holds no NaN")
