"""A cheap upper bound on the joint entropy of groups that share tensors.

Chain rule, in any order of the groups: H(g_1, …, g_L | ω) = Σ_l H(g_l | g_1, …, g_{l−1}, ω). Given the
earlier elements they can be undone, so each term is the entropy of one group, except that the later groups
still scramble the tensors they touch. Dropping those tensors from what is observed can only raise the
entropy:  H_G ≤ Σ_l H(g_l | ω restricted to tensors that no later group touches)  — again permanents.
Together with Σ_l H_l ≤ H_G (DESIGN.md 1.5) this brackets deep networks without nested sampling.
Proof in docs/theory/estimators.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from symdiag.estimators.layerwise import GroupValues
from symdiag.estimators.proposals import exclusive_tensors
from symdiag.estimators.values import DrawValues, add
from symdiag.symmetry.spec import Group, PermutationSpec


def coupled(spec: PermutationSpec) -> bool:
    """Whether any two groups share a tensor (otherwise Σ_l H_l is exact)."""
    groups = spec.groups
    return any(spec.adjacent(a, b) for k, a in enumerate(groups) for b in groups[k + 1 :])


def chain_values(
    order: tuple[Group, ...],
    known: Mapping[str, DrawValues],
    draws: Mapping[str, Tensor],
    values: GroupValues,
) -> DrawValues:
    """Σ_l H(g_l | tensors no later group touches) per draw, for one order of the groups.

    ``known`` holds each group's values on all its tensors (reused where nothing is dropped).
    """
    terms = []
    for position, group in enumerate(order):
        kept = exclusive_tensors(group, order[position + 1 :])
        if len(kept) == len(group.tensors):
            terms.append(known[group.name])
        elif kept:
            terms.append(values(group, draws, kept))
        else:
            count = len(next(iter(draws.values())))
            terms.append(DrawValues.of_exact(np.full(count, group.log_order), "log-order"))
    return add(terms)
