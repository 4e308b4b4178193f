"""Sums over a whole group of several hidden layers that need no sampling, or less of it.

Groups that share no tensor are summed over exactly, each by its permanent, given the elements of the others:
Σ_g r(g) = Σ_rest r(rest) Π_l perm A_l(rest ω). The rest is enumerated where it is small, else sampled (``sandwich``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import logsumexp
from torch import Tensor

from symdiag.arrays import Array
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.log_ratio import LogRatio, act_on_draw
from symdiag.permanents import SMALL, small_log_permanents
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import Group, PermutationSpec

MAX_ENUMERATED = 1000


def summed_groups(posterior: Posterior, spec: PermutationSpec) -> tuple[Group, ...]:
    """The groups to sum by permanents: independent given the rest; the largest are taken first."""
    fit = [
        g for g in spec if posterior.is_mean_field and g.is_matrix_permanent and g.width <= SMALL
    ]
    taken: list[Group] = []
    for group in sorted(fit, key=lambda g: -g.log_order):
        if not any(spec.adjacent(group, other) for other in taken):
            taken.append(group)
    return tuple(g for g in spec if g in taken)


def rest_of(posterior: Posterior, spec: PermutationSpec) -> tuple[Group, ...]:
    """The groups that are left when ``summed_groups`` are summed over."""
    summed = summed_groups(posterior, spec)
    return tuple(g for g in spec if g not in summed)


def size(groups: Sequence[Group]) -> float:
    """Elements of a product of groups (at most e^700)."""
    return math.exp(min(sum(g.log_order for g in groups), 700.0))


def enumerable(groups: Sequence[Group]) -> bool:
    """Whether the elements are few enough to visit them all."""
    return size(groups) <= MAX_ENUMERATED * (1 + 1e-9)


class GroupSum:
    """log Σ r over the summed groups, for given elements of the rest."""

    def __init__(
        self,
        posterior: Posterior,
        spec: PermutationSpec,
        loc: Mapping[str, Tensor],
        scale: Mapping[str, Tensor],
    ) -> None:
        self.spec, self.ratio = spec, LogRatio(posterior, spec)
        self.summed, self.rest = summed_groups(posterior, spec), rest_of(posterior, spec)
        self.enumerable = enumerable(self.rest)
        self._every = every_element(self.rest) if self.enumerable else {}
        self._densities = [SlotDensity(g, loc, scale) for g in self.summed]

    def __call__(self, draw: Mapping[str, Tensor], actions: Mapping[str, Element]) -> Array:
        """log Σ_{summed} q(gω)/q(ω) at each of K elements of the rest, (K,); (1,) where there is no rest."""
        count = len(next(iter(actions.values()))) if actions else 1
        total = self.ratio(draw, actions) if actions else np.zeros(1)
        moved = act_on_draw(self.spec, draw, actions)
        for group, density in zip(self.summed, self._densities, strict=True):
            blocks = {
                n: moved[n] if n in moved else draw[n].expand(count, *draw[n].shape)
                for n in group.tensors
            }
            total = total + small_log_permanents(density(blocks).numpy())
        return total

    def exact(self, draw: Mapping[str, Tensor]) -> float:
        """log Σ_g r(g) over the whole group, every element of the rest visited."""
        return float(logsumexp(self(draw, self._every)))


def every_element(groups: Sequence[Group]) -> dict[str, Element]:
    """All elements of the product of some groups, one batch per group, aligned."""
    if not groups:
        return {}
    lists = [_elements(g) for g in groups]
    index = np.indices([len(elements) for elements in lists]).reshape(len(lists), -1)
    return {g.name: elements.take(k) for g, elements, k in zip(groups, lists, index, strict=True)}


def _elements(group: Group) -> Element:
    """All n! permutations, times all 2^n signs for signed groups."""
    orders = np.array(list(itertools.permutations(range(group.width))), dtype=np.intp)
    if not group.signed:
        return Element(orders, np.ones(orders.shape))
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=group.width)))
    return Element(np.repeat(orders, len(signs), axis=0), np.tile(signs, (len(orders), 1)))
