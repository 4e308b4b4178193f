"""Proposals τ(g | ω) over group elements, with tractable probabilities.

Derived in docs/theory/estimators.md, "The whole group at once".

Per group: a permutation drawn by sequential importance sampling on the slot-density matrix, then,
for signed groups, independent signs. A group that shares tensors with later groups, or acts on two
axes of one, mixes two matrices, one on all its tensors and one on the others, because the true
conditional lies between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logsumexp
from torch import Tensor

from symdiag.arrays import Array
from symdiag.estimators.densities import SlotDensity
from symdiag.permanents import assignment_log_prob, sample_assignments
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import Group

_WHOLE = 0.75
"""Share of proposals made from all of a group's tensors: right where labels are clear, as the
anchor assumes.
"""


@dataclass(frozen=True)
class _Component:
    weights: Array  # (n, n) log weights, signs summed out
    plus: Array | None  # (n, n) log odds of sign + at (slot, unit)


class GroupProposal:
    """τ(g | ω) for one group and one draw."""

    def __init__(self, group: Group, components: Sequence[_Component]) -> None:
        self.group = group
        self.components = tuple(components)
        self.shares = np.array([_WHOLE, 1.0 - _WHOLE] if len(components) == 2 else [1.0])

    def sample(self, count: int, generator: np.random.Generator) -> tuple[Element, Array]:
        """``count`` elements and their log probabilities (count,).

        A dead end has log probability -inf: τ lacks that much mass, and the element must get no
        weight, even where another component could have drawn it.
        """
        # sorted, so that each component draws its share as one batch; shuffled back below
        choice = np.sort(generator.choice(len(self.components), size=count, p=self.shares))
        parts = [
            self._sample_component(c, int((choice == k).sum()), generator)
            for k, c in enumerate(self.components)
            if (choice == k).any()
        ]
        permutations, signs, alive = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = generator.permutation(count)
        batch = Element(permutations[order], signs[order])
        return batch, np.where(alive[order], self.log_prob(batch), -np.inf)

    def _sample_component(
        self, component: _Component, count: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.intp], Array, NDArray[np.bool_]]:
        """Permutations and signs (count, n), and which are no dead ends (count,)."""
        permutations, log_prob = sample_assignments(component.weights, count, generator)
        signs = np.ones(permutations.shape)
        if component.plus is not None:
            odds = component.plus[np.arange(self.group.width), permutations]
            signs = np.where(generator.random(odds.shape) < expit(odds), 1.0, -1.0)
        return permutations, signs, np.isfinite(log_prob)

    def log_prob(self, batch: Element) -> Array:
        """log τ of each element, (K,)."""
        # the probability under the mixture, whichever component drew the element
        terms = [self._component_log_prob(c, batch) for c in self.components]
        return np.asarray(logsumexp(terms, axis=0, b=self.shares[:, None]), dtype=np.float64)

    def _component_log_prob(self, component: _Component, batch: Element) -> Array:
        result = assignment_log_prob(component.weights, batch.permutation)
        if component.plus is not None:
            odds = component.plus[np.arange(self.group.width), batch.permutation]
            result = result + log_expit(batch.signs * odds).sum(-1)
        return np.asarray(result, dtype=np.float64)


class ProposalFamily:
    """Builds :class:`GroupProposal` objects of one group for given draws; slot parameters prepared
    once.
    """

    def __init__(
        self,
        group: Group,
        loc: Mapping[str, Tensor],
        scale: Mapping[str, Tensor],
        later: Sequence[Group],
    ) -> None:
        self.group = group
        once = one_axis_per_tensor(group)
        densities = [SlotDensity(once, loc, scale)]
        private = own_tensors(group, later)
        if 0 < len(private) < len(once.tensors):
            densities.append(SlotDensity(once, loc, scale, private))
        self._densities = densities

    def __call__(self, draws: Mapping[str, Tensor]) -> list[GroupProposal]:
        """One proposal for each of S draws (name → (S, *shape))."""
        parts = [d.signed_parts(draws) for d in self._densities]
        count = len(parts[0][0])
        return [
            GroupProposal(self.group, [_component(kept, flipped, s) for kept, flipped in parts])
            for s in range(count)
        ]


def _component(kept: Tensor, flipped: Tensor | None, s: int) -> _Component:
    plus = kept[s].numpy()
    if flipped is None:
        return _Component(plus, None)
    minus = flipped[s].numpy()
    # both signs forbidden: any odds will do, since the entry itself has weight 0
    with np.errstate(invalid="ignore"):
        odds = np.where(np.isneginf(plus) & np.isneginf(minus), 0.0, plus - minus)
    return _Component(np.logaddexp(plus, minus), odds)


def one_axis_per_tensor(group: Group) -> Group:
    """The group with only the first axis of each tensor: a matrix permanent that stands in for
    proposals.
    """
    # reversed: the first axis of a tensor is then the one written last, which stays
    first = {m.tensor: m.axis for m in reversed(group.members)}
    members = tuple(m for m in group.members if first[m.tensor] == m.axis)
    return Group(group.name, group.width, members, group.signed)


def own_tensors(group: Group, others: Sequence[Group]) -> tuple[str, ...]:
    """The group's tensors on which the labels of ``others`` leave no mark, nor the group's own on a
    second axis.
    """
    axes = {name: {m.axis for m in group.members if m.tensor == name} for name in group.tensors}
    return tuple(name for name in exclusive_tensors(group, others) if len(axes[name]) == 1)


def exclusive_tensors(group: Group, others: Sequence[Group]) -> tuple[str, ...]:
    """The group's tensors that none of ``others`` touches."""
    shared = {name for other in others for name in other.tensors}
    return tuple(name for name in group.tensors if name not in shared)
