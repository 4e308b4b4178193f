"""From groups to the whole group (DESIGN.md 1.5).

The joint sum where it is exact, else Σ_l H_l below and the coupling bound or the joint sandwich above.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from symdiag.estimate import Bracket, Estimate
from symdiag.estimators.values import DrawValues, combined, mean_and_error, slack, summarise


def total_estimate(
    layerwise: DrawValues,
    chains: Sequence[DrawValues],
    joint: DrawValues | None,
    log_order: float,
    *,
    coupled: bool,
) -> Estimate:
    """The Estimate of H_G.

    Args:
        layerwise: Σ_l of the groups' values, (S,).
        chains: Coupling bounds on the first draws, each an upper bound on H_G in expectation over ω ~ q.
        joint: The joint sandwich, or the exact joint sum, on the first draws, where it was affordable.
        log_order: log|G|, nats.
        coupled: Whether any two groups share a tensor; if not, Σ_l H_l is H_G itself.
    """
    base = summarise(layerwise, log_order)
    if not coupled:
        return base
    if joint is not None and len(joint) > 1 and joint.exact.all():
        return _exact_total(layerwise, joint, log_order)
    candidates = [log_order, *(upper_from_part(layerwise, c, averaged=True) for c in chains)]
    method = f"sum over groups: {base.method}"
    if joint is not None and len(joint):
        candidates.append(upper_from_part(layerwise, joint, averaged=False))
        method = f"{method}; joint {'+'.join(joint.methods)}"
    upper = max(min(candidates), base.value)
    # Σ H_l and the bounds above enclose H_G on average over ω ~ q; on a single draw either may fail
    bracket = Bracket("expectation", base.lower, upper)
    return dataclasses.replace(
        base, upper=upper, interval=bracket.kind, method=method, brackets=(bracket,)
    )


def _exact_total(layerwise: DrawValues, joint: DrawValues, log_order: float) -> Estimate:
    """H_G from exact joint sums on the first draws, with the layerwise values, which vary alike, as control variate."""
    count = len(joint)
    gaps = joint.value - layerwise.value[:count]
    if count == len(layerwise):
        value, error = mean_and_error(layerwise.rao_blackwellised + gaps)
        margin = math.inf if error is None else slack(count) * error
    else:
        (centre, error), (gap, gap_error) = (
            mean_and_error(layerwise.rao_blackwellised),
            mean_and_error(gaps),
        )
        value, margin = centre + gap, combined(error, len(layerwise), gap_error, count)
        error = None if error is None or gap_error is None else math.hypot(error, gap_error)
    value = min(max(value, 0.0), log_order)
    return Estimate(
        value=value,
        std_error=error,
        lower=max(value - margin, 0.0),
        upper=min(value + margin, log_order),
        method=f"joint {'+'.join(joint.methods)}",
        samples=len(layerwise),
        interval="exact",
    )


def upper_from_part(layerwise: DrawValues, part: DrawValues, *, averaged: bool) -> float:
    """Mean upper bound plus its Monte Carlo slack when only the first draws have one.

    The gap to the layerwise value varies far less than the value, so it is averaged over those draws and
    added to the layerwise mean over all. ``averaged`` compares values averaged over labellings: for parts that have
    them the gap is steadier still, for others (the joint sandwich) only the plain values vary alike.
    """
    if not np.isfinite(part.expected_upper).all():
        return math.inf
    centre, error = mean_and_error(layerwise.rao_blackwellised)
    gaps = part.expected_upper - layerwise.value[: len(part)]
    if averaged:
        gaps += (part.rao_blackwellised - part.value) - (
            layerwise.rao_blackwellised - layerwise.value
        )[: len(part)]
    gap, gap_error = mean_and_error(gaps)
    return centre + gap + combined(error, len(layerwise), gap_error, len(part))
