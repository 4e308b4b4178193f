"""What the planner is told, what it gives back, and the pieces in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from symdiag.arrays import Array, BoolArray


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        max_exact: largest block evaluated exactly (up to 24).
        particles: particles of each SMC run; a quarter of them where small pilot runs agree
            already.
        runs: plain SMC runs per block; one conditional run comes on top. Where pilot runs
            disagree, a quarter of the runs get 3/4 ``runs`` times the particles each.
        delta: chance that ``probable_lower`` fails.
        certify: whether to compute the dearer deterministic bounds on large blocks.
    """

    max_exact: int = 20
    particles: int = 128
    runs: int = 8
    delta: float = 1e-3
    certify: bool = True


DEFAULT = Effort()


class Ends(NamedTuple):
    """A lower and an upper end, nats; infinite where nothing is known."""

    lower: float = -math.inf
    upper: float = math.inf


NOTHING_KNOWN = Ends()


@dataclass(frozen=True)
class Part:
    """log perm of one block or of a whole matrix with its bounds, nats; names as in
    ``LogPermanent``.

    ``weight`` is the mean log weight of the permutations that ``rao_blackwellised`` of the whole
    matrix averages over; NaN when nobody asked.
    """

    value: float
    certified: Ends
    expected: Ends
    probable_lower: float
    exact: bool
    method: str
    reason: str
    weight: float = math.nan
    operations: float = 0.0

    @classmethod
    def certain(
        cls,
        value: float,
        slack: float,
        method: str,
        reason: str,
        *,
        weight: float = math.nan,
        operations: float = 0.0,
    ) -> Part:
        """Known to within ``slack`` nats."""
        ends, point = Ends(value - slack, value + slack), Ends(value, value)
        return cls(value, ends, point, value, True, method, reason, weight, operations)


@dataclass(frozen=True)
class LogPermanent:
    """log perm of a batch, nats, with three kinds of bound; every array is (B,).

    Attributes:
        value: best estimate; -inf where the permanent is zero.
        certified_lower: holds for the matrix given.
        certified_upper: holds for the matrix given; inf where none was computed.
        expected_lower: plain SMC, E[.] <= log perm; equals ``value`` where exact.
        expected_upper: conditional SMC seeded with the identity, E[.] >= E log perm when the
            identity is a posterior draw; equals ``value`` where exact, inf when not computed.
        probable_lower: holds with probability 1 - delta (Markov); -inf when not computed.
        rao_blackwellised: log perm less the mean log weight of the permutations that a kernel
            which leaves P(pi) proportional to prod_i A_{i, pi(i)} invariant reaches from the
            identity; NaN when not asked for. The entropy of P where the matrix was evaluated
            whole; otherwise its mean is the entropy's when the identity is a draw from P
            (docs/theory/permanents.md, 11).
        exact: whether ``value`` is exact to rounding.
        method: what the planner picked.
        reason: why.
        operations: steps of the dynamic programme or of the sampler, a machine-independent
            measure of cost.
    """

    value: Array
    certified_lower: Array
    certified_upper: Array
    expected_lower: Array
    expected_upper: Array
    probable_lower: Array
    rao_blackwellised: Array
    exact: BoolArray
    method: tuple[str, ...]
    reason: tuple[str, ...]
    operations: Array


@dataclass(frozen=True)
class Marginals:
    """P (B, n, n) = d log perm / d log A_ij, the chance that row i holds column j.

    ``exact`` (B,) and ``method`` (B) say how each was had.
    """

    probabilities: Array
    exact: BoolArray
    method: tuple[str, ...]
