"""From groups to the whole group: Σ_l H_l below, coupling bound or joint sandwich above (DESIGN.md 1.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from symdiag.estimate import Bracket, Estimate, Interval
from symdiag.estimators.values import DrawValues, summarise

_ORDER: dict[Interval, int] = {"exact": 0, "certified": 1, "probability": 2, "expectation": 3}


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
        layerwise: Σ_l of the groups' values, same draws (S,).
        chains: Coupling bounds, each an upper bound on H_G in expectation over ω ~ q.
        joint: The joint sandwich where it was affordable.
        log_order: log|G|, nats.
        coupled: Whether any two groups share a tensor; if not, Σ_l H_l is H_G itself.
    """
    base = summarise(layerwise, log_order)
    if not coupled:
        return base
    uppers = [summarise(c, log_order) for c in chains]
    candidates = [(u.upper, u.interval) for u in uppers]
    lower, lower_kind = base.lower, base.interval
    value, method = base.value, base.method
    if joint is not None:
        both = summarise(joint, log_order)
        candidates.append((both.upper, both.interval))
        method = f"{method}; joint {both.method}"
        if both.lower > lower:
            lower, lower_kind = both.lower, both.interval
    upper, upper_kind = min(candidates, default=(log_order, base.interval))
    kind = max((lower_kind, upper_kind), key=_ORDER.__getitem__)
    # exact per group, but a bracket in total: Σ H_l and the coupling bound hold whatever the draws
    kind = "certified" if kind == "exact" else kind
    upper = max(upper, value)
    bracket = Bracket(kind, min(lower, value), upper)
    return dataclasses.replace(
        base, lower=bracket.lower, upper=upper, interval=kind, method=f"sum over groups: {method}", brackets=(bracket,)
    )
