"""From groups to the whole group: Σ_l H_l below, coupling bound or joint sandwich above (DESIGN.md 1.5)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from symdiag.estimate import Bracket, Estimate, Interval
from symdiag.estimators.values import DrawValues, mean_and_error, summarise

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
        layerwise: Σ_l of the groups' values, (S,).
        chains: Coupling bounds on the first draws, each an upper bound on H_G in expectation over ω ~ q.
        joint: The joint sandwich on the first draws, where it was affordable.
        log_order: log|G|, nats.
        coupled: Whether any two groups share a tensor; if not, Σ_l H_l is H_G itself.
    """
    base = summarise(layerwise, log_order)
    if not coupled:
        return base
    candidates: list[tuple[float, Interval]] = [(log_order, "certified")]
    candidates += [(upper_from_part(layerwise, c), _kind(c)) for c in chains]
    method = f"sum over groups: {base.method}"
    if joint is not None and len(joint):
        candidates.append((upper_from_part(layerwise, joint), "expectation"))
        method = f"{method}; joint {'+'.join(joint.methods)}"
    upper, upper_kind = min(candidates)
    # each group may be exact, yet the total is bracketed: Σ H_l and the bounds above enclose it
    kind = max((base.interval, upper_kind, "certified"), key=_ORDER.__getitem__)
    upper = max(upper, base.value)
    return dataclasses.replace(
        base, upper=upper, interval=kind, method=method, brackets=(Bracket(kind, base.lower, upper),)
    )


def _kind(values: DrawValues) -> Interval:
    return "certified" if values.exact.all() else "expectation"


def upper_from_part(layerwise: DrawValues, part: DrawValues) -> float:
    """Mean upper bound plus two standard errors when only the first draws have one.

    The gap to the layerwise value varies far less than the value, so it is averaged over those draws and
    added to the layerwise mean over all.
    """
    centre, error = mean_and_error(layerwise.value)
    gap, gap_error = mean_and_error(part.expected_upper - layerwise.value[: len(part)])
    if error is None or gap_error is None:
        return math.inf
    return centre + gap + 2.0 * math.hypot(error, gap_error)
