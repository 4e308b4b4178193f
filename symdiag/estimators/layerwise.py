"""One group at a time, by permanents: H(g_l | ω) from below, and the coupling bound from above.

Every other group at the identity gives Σ_l H_l ≤ H_G. From above, the chain rule in any order of
the groups: H(g_1, …, g_L | ω) = Σ_l H(g_l | g_1, …, g_{l−1}, ω). Given the earlier elements they
can be undone, so each term is the entropy of one group, except that the later groups still scramble
the tensors they touch. Dropping those tensors from what is observed can only raise the entropy:
H_G ≤ Σ_l H(g_l | ω restricted to tensors that no later group touches), again permanents. Proofs:
docs/theory/estimators.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from symdiag.estimators.densities import SlotDensity, log_add, sign_entropy
from symdiag.estimators.proposals import exclusive_tensors
from symdiag.estimators.values import DrawEnds, DrawValues, add
from symdiag.permanents import Effort, log_permanent
from symdiag.symmetry.spec import Group, PermutationSpec

GroupValues = Callable[[Group, Mapping[str, Tensor], Sequence[str] | None], DrawValues]
"""(group, draws, tensors) → ``group_values`` with everything else settled."""


def group_values(
    group: Group,
    loc: Mapping[str, Tensor],
    scale: Mapping[str, Tensor],
    draws: Mapping[str, Tensor],
    *,
    generator: np.random.Generator,
    effort: Effort,
    certify: bool = True,
    tensors: Sequence[str] | None = None,
) -> DrawValues:
    """log Σ_g q(g⁻¹ω)/q(ω) over one group, for each of S draws.

    Args:
        group: A group that acts on one axis of each of its tensors.
        loc: Tensor name → posterior mean, float64 in file layout.
        scale: Tensor name → posterior std, same shapes.
        draws: Tensor name → draws (S, *shape).
        generator: Randomness of the permanent estimators.
        effort: How hard to work on matrices too large for exact evaluation.
        certify: Whether to compute deterministic bounds too (slow at large widths).
        tensors: Look only at these tensors: then the entropy of g given *those* weights.
    """
    with torch.no_grad():
        kept, flipped = SlotDensity(group, loc, scale, tensors).signed_parts(draws)  # (S, n, n)
    matrices = kept if flipped is None else log_add(kept, flipped)
    signs = None if flipped is None else sign_entropy(kept, flipped)
    return permanent_values(matrices, signs, generator=generator, effort=effort, certify=certify)


def permanent_values(
    matrices: Tensor,
    signs: Tensor | None = None,
    *,
    generator: np.random.Generator,
    effort: Effort,
    certify: bool,
) -> DrawValues:
    """Log-permanents of relative log-density matrices (S, n, n) as DrawValues; ``signs`` as
    ``sign_entropy``.
    """
    inner = np.zeros((1, 1, 1)) if signs is None else signs.cpu().numpy()
    result = log_permanent(
        matrices.cpu().numpy(),
        generator=generator,
        effort=dataclasses.replace(effort, certify=certify),
        inner_entropy=inner,
    )
    averaged = result.rao_blackwellised
    certified = DrawEnds.of(result.certified_lower, result.certified_upper)
    never = np.full(len(matrices), np.inf)  # Markov's inequality says nothing above
    return DrawValues(
        value=result.value,
        rao_blackwellised=np.where(np.isfinite(averaged), averaged, result.value),
        certified=certified.where(certify | result.exact),
        expectation=DrawEnds.of(result.expected_lower, result.expected_upper),
        probability=DrawEnds.of(result.probable_lower, never),
        exact=result.exact,
        operations=result.operations,
        methods=tuple(dict.fromkeys(result.method)),
    )


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
            # every tensor is scrambled by later groups: nothing is left to see, g stays uniform
            count = len(next(iter(draws.values())))
            terms.append(DrawValues.of_exact(np.full(count, group.log_order), "log-order"))
    return add(terms)
