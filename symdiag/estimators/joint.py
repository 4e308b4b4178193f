r"""The whole group of several hidden layers at once: exact sums, and a two-sided bound elsewhere.

**Exactly.** Groups that share no tensor are summed over, each by its permanent, given the elements
of the others: Σ_g r(g) = Σ_rest r(rest) Π_l perm A_l(rest ω). The rest is enumerated where small.

**Sandwich.** Else it is sampled: for any proposal τ(g|ω) and g_k ~ τ, with r(g) = q(gω)/q(ω),

    E log (1/K)[1/τ(e|ω) + Σ_{k<K} r(g_k)/τ(g_k|ω)]  ≥  H(g|ω)  ≥  E log (1/K) Σ_k r(g_k)/τ(g_k|ω),

both monotone in K (Sobolev & Vetrov 2019); valid because ω ~ q makes the identity an exact draw of
g given ω, once ω has been relabelled at random (``relabelling.py``). τ is built group after group,
each conditioned on the elements already drawn. Uniform τ in the upper bound is the estimator of
Gelberg et al. 2024, Thm 4.3, hence its ceiling at log K.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from symdiag.arrays import Array
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.log_ratio import LogRatio, act_on_draw
from symdiag.estimators.proposals import ProposalFamily
from symdiag.estimators.relabelling import Anchor
from symdiag.estimators.values import DrawEnds, DrawValues
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
        """log Σ_{summed} q(gω)/q(ω) at each of K elements of the rest, (K,); (1,) where there is no
        rest.
        """
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


class JointSandwich:
    """The sandwich for all groups of ``spec``; uses the true density, correlated posteriors
    included.

    Groups that ``GroupSum`` sums over exactly are not sampled; where the rest can be enumerated
    nothing is.
    """

    def __init__(self, posterior: Posterior, spec: PermutationSpec) -> None:
        self.spec = spec
        loc = {name: torch.from_numpy(value) for name, value in posterior.loc.items()}
        scale = {name: torch.from_numpy(value) for name, value in posterior.scale.items()}
        self.sum = GroupSum(posterior, spec, loc, scale)
        self.ratio = self.sum.ratio
        self.anchor = Anchor(spec, self.ratio, loc, scale)
        order = (*self.sum.rest, *self.sum.summed)
        self.families = [
            ProposalFamily(g, loc, scale, order[k + 1 :]) for k, g in enumerate(self.sum.rest)
        ]

    def __call__(
        self, draws: Mapping[str, Tensor], num_elements: int, generator: np.random.Generator
    ) -> DrawValues:
        """Both bounds for each of S draws (name → (S, *shape)) with K = ``num_elements``; exact
        where affordable.
        """
        count = len(next(iter(draws.values())))
        if self.sum.enumerable:
            values = [
                self.sum.exact({name: value[s] for name, value in draws.items()})
                for s in range(count)
            ]
            return DrawValues.of_exact(np.array(values), "enumerated")
        anchored, actions = self.anchor(draws, generator)
        ends = np.array(
            [
                self._ends(*_pick(anchored, actions, s), num_elements, generator)
                for s in range(count)
            ]
        )
        lower, upper = ends.reshape(-1, 2).T
        # an end may be infinite where τ misses what matters; the value stays finite
        most = self.spec.log_order
        value = 0.5 * (np.clip(lower, -most, most) + np.clip(upper, -most, most))
        return DrawValues.of_brackets(value, DrawEnds.of(lower, upper), f"sandwich-K{num_elements}")

    def _ends(
        self,
        moved: Mapping[str, Tensor],
        undo: Mapping[str, Element],
        count: int,
        generator: np.random.Generator,
    ) -> tuple[float, float]:
        """Both ends for the draw that ``undo`` makes of ``moved``; the proposal knows nothing but
        ``moved``.
        """
        own = {family.group.name: undo[family.group.name] for family in self.families}
        base = float(self.ratio(moved, undo)[0])  # log q(ω) − log q(moved): r is relative to ω
        weights = self._importance_weights(moved, count, generator) - base
        exact = float(self.sum(moved, own)[0]) - base - self._log_prob(moved, own)
        lower = float(logsumexp(weights)) - math.log(count)
        return lower, float(logsumexp(np.append(weights[1:], exact))) - math.log(count)

    def _importance_weights(
        self, draw: Mapping[str, Tensor], count: int, generator: np.random.Generator
    ) -> Array:
        """log r(g_k)/τ(g_k | ω) for g_k ~ τ, (K,), the summed groups summed over."""
        first, *rest = self.families
        proposal = first({name: value[None] for name, value in draw.items()})[0]
        elements, log_prob = proposal.sample(count, generator)
        actions = {first.group.name: elements}
        for family in rest:
            batch, value = self._conditional(draw, actions, family, generator)
            actions[family.group.name] = batch
            log_prob = log_prob + value
        dead = np.isneginf(log_prob)
        return np.where(dead, -np.inf, self.sum(draw, actions) - np.where(dead, 0.0, log_prob))

    def _conditional(
        self,
        draw: Mapping[str, Tensor],
        actions: Mapping[str, Element],
        family: ProposalFamily,
        generator: np.random.Generator,
    ) -> tuple[Element, Array]:
        """One element of the family's group for each history, sharing work among equal histories."""
        rows = np.concatenate(
            [part for b in actions.values() for part in (b.permutation, b.signs)], axis=1
        )
        _, first, label = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        distinct = {k: Element(b.permutation[first], b.signs[first]) for k, b in actions.items()}
        proposals = family(self._moved(draw, distinct, family))
        width = family.group.width
        permutations, signs = (
            np.empty((len(rows), width), dtype=np.intp),
            np.empty((len(rows), width)),
        )
        log_prob = np.empty(len(rows))
        for k, proposal in enumerate(proposals):
            mine = np.flatnonzero(label.reshape(-1) == k)
            batch, log_prob[mine] = proposal.sample(len(mine), generator)
            permutations[mine], signs[mine] = batch.permutation, batch.signs
        return Element(permutations, signs), log_prob

    def _moved(
        self,
        draw: Mapping[str, Tensor],
        actions: Mapping[str, Element],
        family: ProposalFamily,
    ) -> dict[str, Tensor]:
        """The family's tensors after the groups already drawn have acted: name → (K, *shape)."""
        moved = act_on_draw(self.spec, draw, actions)
        count = len(next(iter(actions.values())))
        names = family.group.tensors
        return {n: moved[n] if n in moved else draw[n].expand(count, *draw[n].shape) for n in names}

    def _log_prob(self, draw: Mapping[str, Tensor], elements: Mapping[str, Element]) -> float:
        """log τ of one element of the whole group."""
        total, actions = 0.0, dict[str, Element]()
        for family in self.families:
            current = (
                self._moved(draw, actions, family)
                if actions
                else {n: v[None] for n, v in draw.items()}
            )
            total += float(family(current)[0].log_prob(elements[family.group.name])[0])
            actions[family.group.name] = elements[family.group.name]
        return total


def _pick(
    draws: Mapping[str, Tensor], actions: Mapping[str, Element], s: int
) -> tuple[dict[str, Tensor], dict[str, Element]]:
    """Draw s, and the element that undoes what was done to it."""
    return {n: v[s] for n, v in draws.items()}, {
        n: batch.take([s]).inverse() for n, batch in actions.items()
    }
