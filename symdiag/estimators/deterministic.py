"""What is known of H(g | ω) without weight draws: the best Chernoff bounds per group and in total.

Where such a bound is small the interval it gives is the one to report: it has no Monte Carlo error,
and counts the rare draws that a sample of near-zero values has not seen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from symdiag.estimate import Bracket, Estimate
from symdiag.estimators.chernoff import chernoff_bound, correlated
from symdiag.estimators.chernoff_displaced import displaced_bound
from symdiag.estimators.chernoff_enumerated import enumerated_bound, touched
from symdiag.estimators.layerwise import coupled
from symdiag.estimators.proposals import exclusive_tensors
from symdiag.estimators.values import in_order, slack
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, PermutationSpec

DECISIVE = 0.05
"""Nats, the default precision: up to here the bound's interval is the one that is reported."""
_TELLING = 0.5  # share of log|G| from which a bound is not worth a line
_SEEN = 0.1  # share of the bound from which what the draws have seen is reported instead
_CLOSED = 1e-3  # nats at which dearer bounds are not tried


@dataclass(frozen=True)
class DeterministicBounds:
    """Upper bounds on H_l of each group by name and on H_G, nats; at most log of the order."""

    groups: Mapping[str, float]
    total: float


def deterministic_bounds(posterior: Posterior, spec: PermutationSpec) -> DeterministicBounds:
    """The best bounds that need no draws (docs/theory/chernoff.md)."""
    groups = {g.name: _group_bound(posterior, g) for g in spec}
    whole = correlated(posterior, touched(spec))
    if not coupled(spec) and not whole:
        return DeterministicBounds(groups, math.fsum(groups.values()))
    bounds = [spec.log_order]
    enumerated = enumerated_bound(posterior, spec)
    if enumerated is not None:
        bounds.append(enumerated.value)
    elif not whole:
        orders = (spec.groups, spec.groups[::-1])
        bounds += [_coupling_bound(posterior, order, groups) for order in orders]
        if min(bounds) > _CLOSED:
            bounds.append(displaced_bound(posterior, spec).value)
    return DeterministicBounds(groups, min(bounds))


def _group_bound(posterior: Posterior, group: Group) -> float:
    """One group with every other at the identity."""
    bound = chernoff_bound(posterior, group).value
    if group.is_matrix_permanent and not correlated(posterior, group.tensors):
        return bound
    # no permanent of all its weights: every element where they are few, else the displaced ones
    alone = PermutationSpec((group,))
    enumerated = enumerated_bound(posterior, alone) or displaced_bound(posterior, alone)
    return min(bound, enumerated.value)


def _coupling_bound(
    posterior: Posterior, order: tuple[Group, ...], groups: Mapping[str, float]
) -> float:
    """Σ_l of bounds on H(g_l | tensors that no later group touches)."""
    total = 0.0
    for position, group in enumerate(order):
        kept = exclusive_tensors(group, order[position + 1 :])
        whole = len(kept) == len(group.tensors)
        total += (
            groups[group.name] if whole else chernoff_bound(posterior, group, tensors=kept).value
        )
    return total


def settled(estimate: Estimate, bound: float, log_order: float) -> Estimate:
    """The estimate of an entropy in [0, log_order] that is known to be at most ``bound``.

    Its upper end is at most the bound. Where that is small and the draws have seen nothing of its
    size, [0, bound] is the interval itself.

    Raises:
        ContradictionError: the value exceeds the bound by more than its error (see ``in_order``).
    """
    if bound > _TELLING * log_order:
        return estimate
    error = math.inf
    if estimate.std_error is not None:
        error = slack(estimate.samples) * estimate.std_error
    in_order(estimate.value, bound, error, "an entropy and its bound without draws")
    sampled = Bracket(estimate.interval, estimate.lower, estimate.upper)
    brackets = (*(estimate.brackets or (sampled,)), Bracket("deterministic", 0.0, bound))
    decided = bound <= DECISIVE and estimate.lower <= _SEEN * bound
    upper = bound if decided else min(estimate.upper, bound)
    value = min(estimate.value, upper)  # beyond it by Monte Carlo error alone
    return dataclasses.replace(
        estimate,
        value=value,
        lower=0.0 if decided else min(estimate.lower, value),
        upper=upper,
        interval="deterministic" if decided else estimate.interval,
        brackets=brackets,
    )
