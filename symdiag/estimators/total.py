"""From groups to the whole group: Σ_l H_l below, coupling bound or joint sandwich above (DESIGN.md 1.5)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from symdiag.estimate import Bracket, Estimate
from symdiag.estimators.values import DrawValues, mean_and_error, slack, summarise


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
        joint: The joint sandwich on the first draws, where it was affordable.
        log_order: log|G|, nats.
        coupled: Whether any two groups share a tensor; if not, Σ_l H_l is H_G itself.
    """
    base = summarise(layerwise, log_order)
    if not coupled:
        return base
    candidates = [log_order, *(upper_from_part(layerwise, c) for c in chains)]
    method = f"sum over groups: {base.method}"
    if joint is not None and len(joint):
        candidates.append(upper_from_part(layerwise, joint))
        method = f"{method}; joint {'+'.join(joint.methods)}"
    upper = max(min(candidates), base.value)
    # Σ H_l and the bounds above enclose H_G on average over ω ~ q; on a single draw either may fail
    bracket = Bracket("expectation", base.lower, upper)
    return dataclasses.replace(base, upper=upper, interval=bracket.kind, method=method, brackets=(bracket,))


def upper_from_part(layerwise: DrawValues, part: DrawValues) -> float:
    """Mean upper bound plus its Monte Carlo slack when only the first draws have one.

    The gap to the layerwise value varies far less than the value, so it is averaged over those draws and
    added to the layerwise mean over all.
    """
    if not np.isfinite(part.expected_upper).all():
        return math.inf
    centre, error = mean_and_error(layerwise.value)
    gap, gap_error = mean_and_error(part.expected_upper - layerwise.value[: len(part)])
    if error is None or gap_error is None:
        return math.inf
    return centre + gap + math.hypot(slack(len(layerwise)) * error, slack(len(part)) * gap_error)
