"""From groups to the whole group (docs/theory/estimators.md, several groups).

The joint sum where it is exact, else Σ_l H_l below and the coupling bound or the joint sandwich
above.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from symdiag.estimate import Bracket, Estimate
from symdiag.estimators.values import (
    DrawValues,
    combined,
    crossed,
    in_order,
    mean_and_error,
    slack,
    summarise,
)


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
        chains: Coupling bounds on the first draws, each an upper bound on H_G in expectation.
        joint: The joint sandwich, or the exact joint sum, on the first draws, where affordable.
        log_order: log|G|, nats.
        coupled: Whether any two groups share a tensor; if not, Σ_l H_l is H_G itself.

    Raises:
        ContradictionError: an upper end lies below Σ_l H_l by more than its error.
    """
    base = summarise(layerwise, log_order)
    if not coupled:
        return base
    if joint is not None and len(joint) > 1 and joint.exact.all():
        return _exact_total(layerwise, joint, log_order)
    method = f"sum over groups: {base.method}"
    parts = [(chain, True) for chain in chains]
    if joint is not None and len(joint):
        parts.append((joint, False))
        method = f"{method}; joint {'+'.join(joint.methods)}"
    candidates = [upper_from_part(layerwise, part, alike=alike) for part, alike in parts]
    upper = min(log_order, *candidates) if candidates else log_order
    if crossed(base.value, upper, 0.0):
        # by chance, or ``upper_from_part`` had raised; not to be passed over in silence
        method = f"{method}; sampled ends cross by {base.value - upper:.2g} nats"
        upper = base.value
    # Σ H_l and the bounds above enclose H_G on average over ω ~ q; on a single draw either may fail
    bracket = Bracket("expectation", base.lower, max(upper, base.value))
    return dataclasses.replace(
        base, upper=bracket.upper, interval=bracket.kind, method=method, brackets=(bracket,)
    )


def _exact_total(layerwise: DrawValues, joint: DrawValues, log_order: float) -> Estimate:
    """H_G from exact joint sums on the first draws; layerwise values are the control variate."""
    count = len(joint)
    gaps = joint.value - layerwise.value[:count]  # Σ_l varies as the joint sum does
    if count == len(layerwise):
        value, error = mean_and_error(layerwise.rao_blackwellised + gaps)
        margin = math.inf if error is None else slack(count) * error
    else:
        centre, error = mean_and_error(layerwise.rao_blackwellised)
        gap, gap_error = mean_and_error(gaps)
        value, margin = centre + gap, combined(error, len(layerwise), gap_error, count)
        error = None if error is None or gap_error is None else math.hypot(error, gap_error)
    in_order(0.0, value, margin, "the joint entropy")
    in_order(value, log_order, margin, "the joint entropy below log|G|")
    return Estimate(
        value=min(max(value, 0.0), log_order),
        std_error=error,
        lower=min(max(value - margin, 0.0), log_order),
        upper=max(min(value + margin, log_order), 0.0),
        method=f"joint {'+'.join(joint.methods)}",
        samples=len(layerwise),
        interval="exact",
    )


def upper_from_part(layerwise: DrawValues, part: DrawValues, *, alike: bool) -> float:
    """Mean upper bound plus its Monte Carlo slack when only the first draws have one.

    The gap to the layerwise value varies far less than the value, so it is averaged over those
    draws and added to the layerwise mean over all. ``alike`` compares Rao–Blackwellised values: for
    parts that have them the gap is steadier still, for others (the joint sandwich) only the plain
    values vary alike.

    Raises:
        ContradictionError: the gap is negative by more than its error.
    """
    if not np.isfinite(part.expectation.upper).all():
        return math.inf
    gaps = part.expectation.upper - layerwise.value[: len(part)]
    if alike:
        known = layerwise.first(len(part))
        gaps += (part.rao_blackwellised - part.value) - (known.rao_blackwellised - known.value)
    centre, error = mean_and_error(layerwise.rao_blackwellised)
    gap, gap_error = mean_and_error(gaps)
    margin = math.inf if gap_error is None else slack(len(part)) * gap_error
    # Σ H_l ≤ H_G ≤ E[upper]: the mean gap cannot be negative
    in_order(
        0.0, gap, max(margin, 1e-12), f"gap of {'+'.join(part.methods)} to the sum over groups"
    )
    return centre + gap + combined(error, len(layerwise), gap_error, len(part))
