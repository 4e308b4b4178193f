"""Per-draw values with their brackets, and how draws become an Estimate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from symdiag.arrays import Array, BoolArray, IntArray
from symdiag.errors import ContradictionError
from symdiag.estimate import Bracket, Estimate, Interval

_NEGLIGIBLE = 1e-9  # nats; a bracket this narrow counts as exact
_ROUNDING = 1e-9  # nats, per nat of size, by which ends may cross in float64
_EXCUSED = 2.0  # half-widths of 95 %: four standard errors happen once in 16 000

strict = False
"""Whether ends that are known up to Monte Carlo error raise, too, where they contradict (in tests).

Ends that hold for every draw always do.
"""


@dataclass(frozen=True)
class DrawEnds:
    """Ends of one kind for each of S draws, nats; infinite where a draw has none."""

    lower: Array  # (S,)
    upper: Array  # (S,)
    known: BoolArray  # (S,) whether this kind was computed for the draw at all

    @classmethod
    def of(cls, lower: Array, upper: Array) -> DrawEnds:
        """Known for every draw."""
        return cls(lower, upper, np.ones(len(lower), dtype=bool))

    @classmethod
    def unknown(cls, count: int) -> DrawEnds:
        """Known for none."""
        never = np.zeros(count, dtype=bool)
        return cls(np.full(count, -np.inf), np.full(count, np.inf), never)

    def where(self, known: BoolArray) -> DrawEnds:
        """Known at most for these draws."""
        lower, upper = np.where(known, self.lower, -np.inf), np.where(known, self.upper, np.inf)
        return DrawEnds(lower, upper, self.known & known)


@dataclass(frozen=True)
class DrawValues:
    """log Σ_g q(g⁻¹ω)/q(ω) = −log P(e|ω) for S weight draws, nats, and all that is known of each.

    Attributes:
        value: The value, or its best estimate, (S,).
        rao_blackwellised: Its mean over the labellings of ω, Σ_g −P(g|ω) log P(g|ω), where that is
            known, else the value itself: the same expectation with less spread
            (docs/theory/estimators.md), (S,).
        certified: Ends that hold for the draw. A subset of draws is enough: see ``summarise``.
        expectation: Ends that hold on average over ω ~ q.
        probability: A lower end that holds with probability 1 − δ.
        exact: Whether the value is exact to rounding, (S,).
        operations: What each draw cost (see ``permanents.LogPermanent``), (S,).
        methods: How values were had.
    """

    value: Array
    rao_blackwellised: Array
    certified: DrawEnds
    expectation: DrawEnds
    probability: DrawEnds
    exact: BoolArray
    operations: Array
    methods: tuple[str, ...] = ()

    @classmethod
    def of_exact(cls, value: Array, method: str) -> DrawValues:
        """Values known exactly."""
        ends = DrawEnds.of(value, value)
        free = np.zeros(len(value))
        return cls(value, value, ends, ends, ends, ends.known, free, (method,))

    @classmethod
    def of_brackets(cls, value: Array, ends: DrawEnds, method: str) -> DrawValues:
        """Values known by ends that hold in expectation only; their cost is budgeted elsewhere."""
        none, never = DrawEnds.unknown(len(value)), np.zeros(len(value), dtype=bool)
        return cls(value, value, none, ends, none, never, np.zeros(len(value)), (method,))

    def __len__(self) -> int:
        return len(self.value)

    def first(self, count: int) -> DrawValues:
        """The first ``count`` draws."""
        return _joined([self], lambda arrays: arrays[0][:count])

    def plus(self, shift: Array) -> DrawValues:
        """All values and ends raised by ``shift`` (S,), which is known exactly."""

        def raised(ends: DrawEnds) -> DrawEnds:
            return DrawEnds(ends.lower + shift, ends.upper + shift, ends.known)

        return dataclasses.replace(
            self,
            value=self.value + shift,
            rao_blackwellised=self.rao_blackwellised + shift,
            certified=raised(self.certified),
            expectation=raised(self.expectation),
            probability=raised(self.probability),
        )

    def replaced(self, where: IntArray, by: DrawValues) -> DrawValues:
        """With those of draws ``where`` taken from ``by``, one of its draws for each."""

        def mixed(arrays: Sequence[Any]) -> Any:
            result = arrays[0].copy()
            result[where] = arrays[1]
            return result

        return dataclasses.replace(_joined([self, by], mixed), methods=self.methods)


def concatenate(parts: Sequence[DrawValues]) -> DrawValues:
    """All draws of several batches."""
    return _joined(parts, np.concatenate)


def add(parts: Sequence[DrawValues]) -> DrawValues:
    """Draw-wise sum over groups (same draws in each part); a flag holds where it does for all."""
    if not parts:
        return DrawValues.of_exact(np.zeros(0), "none")

    def total(arrays: Sequence[Any]) -> Any:
        return np.all(arrays, axis=0) if arrays[0].dtype == bool else np.sum(arrays, axis=0)

    return _joined(parts, total)


def _joined(parts: Sequence[DrawValues], join: Callable[[Sequence[Any]], Any]) -> DrawValues:
    """Each array made of the parts' arrays of that name."""

    def ends(own: Sequence[DrawEnds]) -> DrawEnds:
        return DrawEnds(
            join([e.lower for e in own]), join([e.upper for e in own]), join([e.known for e in own])
        )

    return DrawValues(
        value=join([p.value for p in parts]),
        rao_blackwellised=join([p.rao_blackwellised for p in parts]),
        certified=ends([p.certified for p in parts]),
        expectation=ends([p.expectation for p in parts]),
        probability=ends([p.probability for p in parts]),
        exact=join([p.exact for p in parts]),
        operations=join([p.operations for p in parts]),
        methods=tuple(dict.fromkeys(m for p in parts for m in p.methods)),
    )


def mean_and_error(values: Array) -> tuple[float, float | None]:
    """Mean and standard error of independent draws; the error is None for a single draw."""
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def slack(count: int) -> float:
    """Standard errors that make an interval of about 95 %: 2, or Student's t where draws are few."""
    return max(2.0, float(stdtrit(count - 1, 0.975))) if count > 1 else math.inf


def combined(error: float | None, count: int, other: float | None, other_count: int) -> float:
    """Half-width of about 95 % of the sum of two independent means, of given errors and counts."""
    if error is None or other is None:
        return math.inf
    return math.hypot(slack(count) * error, slack(other_count) * other)


def in_order(lower: float, upper: float, error: float, what: str) -> None:
    """Check that ``lower`` ≤ ``upper`` up to ``error``: a 95 % half-width, 0 for ends that always
    hold.

    Raises:
        ContradictionError: a bound is wrong. Where there is Monte Carlo error, when ``strict``
            only: with few draws chance, too, exceeds any multiple of it now and then.
    """
    if crossed(lower, upper, _EXCUSED * error) and (strict or error == 0.0):
        raise ContradictionError(f"{what}: {lower} <= . <= {upper}, error {error}")


def crossed(lower: float, upper: float, error: float) -> bool:
    """Whether ``lower`` exceeds ``upper`` by more than ``error`` and rounding."""
    size = abs(upper) if math.isfinite(upper) else 0.0
    return lower > upper + error + _ROUNDING * (1.0 + size)


def check_ends(values: DrawValues) -> None:
    """Certified ends hold for every draw, those in expectation on average over draws.

    Raises:
        ContradictionError: they do not (see ``in_order``).
    """
    sure = values.certified
    for lower, upper in zip(sure.lower[sure.known], sure.upper[sure.known], strict=True):
        in_order(float(lower), float(upper), 0.0, "certified ends of a draw")
    width = values.expectation.upper - values.expectation.lower
    if len(width) > 1 and np.isfinite(width).all():
        centre, error = mean_and_error(width)
        margin = max(slack(len(width)) * (error or 0.0), 1e-12)
        in_order(0.0, centre, margin, "ends in expectation")


def summarise(values: DrawValues, ceiling: float) -> Estimate:
    """The Estimate of E[value] in [0, ceiling].

    Brackets of every kind are kept apart; the headline interval is the exact one, else the
    certified one where it is as tight as the sandwich, else the sandwich (valid because ω ~ q;
    Sobolev & Vetrov 2019).

    Raises:
        ContradictionError: bounds exclude each other (see ``in_order``).
    """
    check_ends(values)
    centre, error = mean_and_error(values.rao_blackwellised)
    exact = bool(values.exact.all())
    brackets = [_bracket("certified", values, values.certified, ceiling)]
    if not exact:
        brackets.append(_bracket("expectation", values, values.expectation, ceiling))
        if np.isfinite(values.probability.lower).any():
            brackets.append(_bracket("probability", values, values.probability, ceiling))
    best = _headline(brackets, exact=exact)
    # the mean may leave [0, ceiling] by its Monte Carlo error, the quantity cannot
    margin = math.inf if error is None else slack(len(values)) * error
    in_order(0.0, centre, margin, "an entropy")
    in_order(centre, ceiling, margin, "an entropy below log|G|")
    value = min(max(centre, 0.0), ceiling)
    return Estimate(
        value=value,
        std_error=error,
        lower=min(best.lower, value),
        upper=max(best.upper, value),
        method="+".join(values.methods) or "none",
        samples=len(values),
        interval="exact" if exact else best.kind,
        brackets=() if exact else tuple(brackets),
    )


def _bracket(kind: Interval, values: DrawValues, ends: DrawEnds, ceiling: float) -> Bracket:
    low, high = (_mean_end(values, ends, sign) for sign in (-1.0, 1.0))
    # slack is inside: ends beyond what an entropy can be contradict that by more than their error
    in_order(0.0, high, _chance(high), f"the {kind} upper end of an entropy")
    in_order(low, ceiling, _chance(low), f"the {kind} lower end of an entropy")
    return Bracket(kind, min(max(low, 0.0), ceiling), max(min(high, ceiling), 0.0))


def _chance(end: float) -> float:
    """An error too small to excuse anything, but not 0: the end itself is a Monte Carlo mean."""
    return 1e-12 * (1.0 + abs(end)) if math.isfinite(end) else 0.0


def _mean_end(values: DrawValues, ends: DrawEnds, sign: float) -> float:
    """Mean lower (``sign`` −1) or upper (+1) end plus its Monte Carlo slack.

    Its distance to the value is added to the Rao–Blackwellised value; where only a subset of draws
    has the end, the mean distance over the subset to the mean over all draws (the value is the
    control variate).
    """
    end, known = ends.upper if sign > 0 else ends.lower, ends.known
    if not known.any() or not np.isfinite(end[known]).all():
        return sign * np.inf
    distance = end[known] - values.value[known]
    if known.all():
        centre, error = mean_and_error(values.rao_blackwellised + distance)
        return sign * np.inf if error is None else centre + sign * slack(len(end)) * error
    centre, error = mean_and_error(values.rao_blackwellised)
    gap, gap_error = mean_and_error(distance)
    return centre + gap + sign * combined(error, len(values), gap_error, int(known.sum()))


def _headline(brackets: Sequence[Bracket], *, exact: bool) -> Bracket:
    certified = brackets[0]
    if exact or len(brackets) == 1:
        return certified
    expectation = brackets[1]
    looser = (certified.upper - certified.lower) - (expectation.upper - expectation.lower)
    return certified if looser <= _NEGLIGIBLE else expectation


def complement(estimate: Estimate, ceiling: float) -> Estimate:
    """The Estimate of ceiling − quantity (I = log|G| − H)."""
    return dataclasses.replace(
        estimate,
        value=ceiling - estimate.value,
        lower=ceiling - estimate.upper,
        upper=ceiling - estimate.lower,
        brackets=tuple(
            Bracket(b.kind, ceiling - b.upper, ceiling - b.lower) for b in estimate.brackets
        ),
    )
