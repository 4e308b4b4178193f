"""Blocks of a matrix with their bounds, and how they add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from symdiag.permanents.blocks import BlockStructure
from symdiag.permanents.plan import Plan

EXACT_WITHIN = 1e-10
"""Nats between bounds that count as exact."""


@dataclass(frozen=True)
class Part:
    """log perm of one block or matrix with its bounds, nats; names as in ``LogPermanent``.

    ``weight`` is the mean log weight of the permutations that ``averaged`` of the whole matrix averages over.
    """

    value: float
    lower: float
    upper: float
    expected_lower: float
    expected_upper: float
    probable_lower: float
    exact: bool
    method: str
    reason: str
    weight: float = math.nan
    operations: float = 0.0

    @classmethod
    def certain(
        cls, value: float, slack: float, method: str, reason: str, weight: float = math.nan
    ) -> Part:
        """Known to within ``slack`` nats."""
        return cls(
            value, value - slack, value + slack, value, value, value, True, method, reason, weight
        )

    @property
    def averaged(self) -> float:
        """log perm less the mean log weight."""
        return self.value - self.weight


def combine(parts: Sequence[Part], planned: Plan) -> Part:
    """Blocks add up; what the split may have dropped goes to the upper ends."""
    offset, structure = planned.scaled.offset, planned.structure
    slack = 1e-15 * (abs(offset) + len(planned.scaled.columns))

    def total(name: str) -> float:
        return math.fsum([offset, *(getattr(part, name) for part in parts)])

    lower = max(total("lower"), offset + planned.lower) - slack
    upper = min(total("upper") + structure.loss, offset + planned.upper) + slack
    exact = all(part.exact for part in parts) and min(structure.loss, upper - lower) <= EXACT_WITHIN
    value = min(max(total("value"), lower), upper)
    expected = (
        (value, value)
        if exact
        else (total("expected_lower"), total("expected_upper") + structure.loss)
    )
    if not planned.identity_stays():
        expected = (expected[0], max(expected[1], upper))
    methods = sorted({part.method for part in parts}) or ["exact-dp"]
    return Part(
        value,
        lower,
        upper,
        expected[0],
        expected[1],
        max(total("probable_lower") - slack, lower),
        exact,
        methods[0] if len(structure.blocks) == 1 else "blocks",
        _reason(parts, structure, methods),
        total("weight"),
        math.fsum(part.operations for part in parts),
    )


def _reason(parts: Sequence[Part], structure: BlockStructure, methods: Sequence[str]) -> str:
    if len(structure.blocks) == 1:
        return parts[0].reason if parts else "1 x 1"
    largest = f"{len(structure.blocks)} blocks, largest {structure.largest}, loss <= {structure.loss:.1e} nats"
    hardest = [part.reason for part in parts if not part.exact]
    return "; ".join([largest, "/".join(methods), *hardest[:1]])
