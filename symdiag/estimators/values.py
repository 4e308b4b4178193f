"""Per-draw values with their brackets, and how draws become an Estimate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from symdiag.arrays import Array
from symdiag.estimate import Bracket, Estimate, Interval

_SUMMED = (
    "value",
    "rao_blackwellised",
    "certified_lower",
    "certified_upper",
    "expected_lower",
    "expected_upper",
    "probable_lower",
    "operations",
)
_NEGLIGIBLE = 1e-9  # nats; a bracket this narrow counts as exact


@dataclass(frozen=True)
class DrawValues:
    """log Σ_g q(g⁻¹ω)/q(ω) = −log P(e|ω) for S weight draws, nats, with everything known about each.

    ``averaged`` is its mean over the labellings of ω, Σ_g −P(g|ω) log P(g|ω), where that is known exactly, else the
    value itself: the same expectation with less spread (Rao–Blackwell; docs/theory/estimators.md). ``certified_*`` may
    be NaN for draws that were not certified (a subset is enough: see ``summarise``).
    """

    value: Array  # (S,)
    rao_blackwellised: Array  # (S,)
    certified_lower: Array  # (S,) rigorous per draw
    certified_upper: Array  # (S,)
    expected_lower: Array  # (S,) hold in expectation over ω ~ q
    expected_upper: Array  # (S,)
    probable_lower: Array  # (S,) holds with probability 1 − δ
    exact: NDArray[np.bool_]  # (S,)
    operations: Array  # (S,) what each draw cost (see ``permanents.LogPermanent``)
    methods: tuple[str, ...] = ()

    @classmethod
    def of_exact(cls, value: Array, method: str) -> DrawValues:
        """Values known exactly."""
        every = np.ones(len(value), dtype=bool)
        return cls(
            value, value, value, value, value, value, value, every, np.zeros(len(value)), (method,)
        )

    def __len__(self) -> int:
        return len(self.value)

    def first(self, count: int) -> DrawValues:
        """The first ``count`` draws."""
        arrays = {
            f.name: getattr(self, f.name)[:count]
            for f in dataclasses.fields(self)
            if f.name != "methods"
        }
        return DrawValues(**arrays, methods=self.methods)


def concatenate(parts: Sequence[DrawValues]) -> DrawValues:
    """All draws of several batches."""
    arrays = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])
        for f in dataclasses.fields(DrawValues)
        if f.name != "methods"
    }
    methods = tuple(dict.fromkeys(m for p in parts for m in p.methods))
    return DrawValues(**arrays, methods=methods)


def add(parts: Sequence[DrawValues]) -> DrawValues:
    """Draw-wise sum over groups (same draws in each part)."""
    if not parts:
        return DrawValues.of_exact(np.zeros(0), "none")
    arrays = {name: np.sum([getattr(p, name) for p in parts], axis=0) for name in _SUMMED}
    exact = np.logical_and.reduce([p.exact for p in parts])
    methods = tuple(dict.fromkeys(m for p in parts for m in p.methods))
    return DrawValues(**arrays, exact=exact, methods=methods)


def mean_and_error(values: Array) -> tuple[float, float | None]:
    """Mean and standard error of independent draws; the error is None for a single draw."""
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def slack(count: int) -> float:
    """Standard errors that make an interval of about 95 %: 2, or Student's t where draws are few."""
    return max(2.0, float(stdtrit(count - 1, 0.975))) if count > 1 else math.inf


def combined(error: float | None, count: int, other: float | None, other_count: int) -> float:
    """Half-width of about 95 % of the sum of two independent means, given their standard errors and counts."""
    if error is None or other is None:
        return math.inf
    return math.hypot(slack(count) * error, slack(other_count) * other)


def _bound(values: DrawValues, ends: Array, sign: float) -> float:
    """Mean bound plus its Monte Carlo slack in direction ``sign``.

    Its distance to the value is added to the averaged value; where only a subset of draws has the bound, the mean
    distance over the subset to the mean over all draws (the value is the control variate).
    """
    known = ~np.isnan(ends)
    if not known.any():
        return sign * np.inf
    if not np.isfinite(ends[known]).all():
        return sign * np.inf
    if known.all():
        centre, error = mean_and_error(values.rao_blackwellised + (ends - values.value))
        return sign * np.inf if error is None else centre + sign * slack(len(ends)) * error
    centre, error = mean_and_error(values.rao_blackwellised)
    gap, gap_error = mean_and_error(ends[known] - values.value[known])
    return centre + gap + sign * combined(error, len(values), gap_error, int(known.sum()))


def summarise(values: DrawValues, ceiling: float) -> Estimate:
    """The Estimate of E[value] in [0, ceiling].

    Brackets of every kind are kept apart; the headline interval is the exact one, else the certified one
    where it is as tight as the sandwich, else the sandwich (valid because ω ~ q; Sobolev & Vetrov 2019).
    """
    centre, error = mean_and_error(values.rao_blackwellised)
    brackets = [
        _bracket("certified", values, values.certified_lower, values.certified_upper, ceiling)
    ]
    if not values.exact.all():
        brackets.append(
            _bracket("expectation", values, values.expected_lower, values.expected_upper, ceiling)
        )
        if np.isfinite(values.probable_lower).any():
            brackets.append(
                _bracket(
                    "probability",
                    values,
                    values.probable_lower,
                    np.full(len(values), np.nan),
                    ceiling,
                )
            )
    best = _headline(brackets, exact=bool(values.exact.all()))
    value = min(max(centre, 0.0), ceiling)
    kind: Interval = "exact" if values.exact.all() else best.kind
    return Estimate(
        value=value,
        std_error=error,
        lower=min(best.lower, value),
        upper=max(best.upper, value),
        method="+".join(values.methods) or "none",
        samples=len(values),
        interval=kind,
        brackets=() if values.exact.all() else tuple(brackets),
    )


def _bracket(
    kind: Interval, values: DrawValues, lower: Array, upper: Array, ceiling: float
) -> Bracket:
    low, high = _bound(values, lower, -1.0), _bound(values, upper, 1.0)
    return Bracket(kind, min(max(low, 0.0), ceiling), max(min(high, ceiling), 0.0))


def _headline(brackets: Sequence[Bracket], *, exact: bool) -> Bracket:
    certified = brackets[0]
    if exact or len(brackets) == 1:
        return certified
    expectation = brackets[1]
    slack = (certified.upper - certified.lower) - (expectation.upper - expectation.lower)
    return certified if slack <= _NEGLIGIBLE else expectation


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
