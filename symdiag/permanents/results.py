"""What the planner is told and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from symdiag.arrays import Array, BoolArray


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        max_exact: largest block evaluated exactly (up to 24).
        particles: particles of each SMC run; a quarter of them where small pilot runs agree already.
        runs: plain SMC runs per block; one conditional run comes on top. Where pilot runs disagree, a quarter of the
            runs get 3/4 ``runs`` times the particles each.
        seconds: time budget per matrix for refining beyond the first pair of runs; None is unlimited.
        delta: chance that ``probable_lower`` fails.
        certify: whether to compute the dearer certified bounds (Bethe, entropy) on large blocks.
    """

    max_exact: int = 20
    particles: int = 128
    runs: int = 8
    seconds: float | None = None
    delta: float = 1e-3
    certify: bool = True


DEFAULT = Effort()


@dataclass(frozen=True)
class LogPermanent:
    """log perm of a batch, nats, with three kinds of bound; every array is (B,).

    Attributes:
        value: best estimate; -inf where the permanent is zero.
        certified_lower: holds for the matrix given.
        certified_upper: holds for the matrix given; inf where none was computed.
        expected_lower: plain SMC, E[.] <= log perm; equals ``value`` where exact.
        expected_upper: conditional SMC seeded with the identity, E[.] >= E log perm when the identity is a posterior
            draw; equals ``value`` where exact, inf when not computed.
        probable_lower: holds with probability 1 - delta (Markov); -inf when not computed.
        averaged: log perm less the mean log weight of the permutations that a kernel which leaves
            P(pi) proportional to prod_i A_{i, pi(i)} invariant reaches from the identity; NaN when not asked for. The
            entropy of P where the matrix was evaluated whole; otherwise its mean is the entropy's when the identity is
            a draw from P (docs/theory/permanents.md, 11).
        exact: whether ``value`` is exact to rounding.
        method: what the planner picked.
        reason: why.
        operations: steps of the dynamic programme or of the sampler, a machine-independent measure of cost.
    """

    value: Array
    certified_lower: Array
    certified_upper: Array
    expected_lower: Array
    expected_upper: Array
    probable_lower: Array
    averaged: Array
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
