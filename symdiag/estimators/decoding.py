r"""An upper bound on the joint entropy of wide, deep nets: decode some groups, sum over the others.

Chain rule: H(g_1 … g_L | ω) = Σ_l H(g_l | g_<l, ω). A conditional entropy is at most the
    cross-entropy of *any* law τ_l
that sees no more than (g_<l, ω) does (Barber & Agakov 2003):  H(g_l | g_<l, ω) ≤ E[−log τ_l(g_l)].
We take for τ_l the law of g_l if the later groups were as a decoder finds them, P(g_l | g_<l,
ĝ_>l(ω), ω): one permanent, mixed with a little of the law of the coupling bound (``coupling.py``),
which drops the tensors that later groups touch instead. Where the decoder is right the term is the
group's own value, so the bound closes on Σ_l H_l. Proof in docs/theory/estimators.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array, BoolArray
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.layerwise import GroupValues
from symdiag.estimators.proposals import exclusive_tensors, own_tensors
from symdiag.estimators.relabelling import best_elements, uniform_elements
from symdiag.estimators.values import DrawEnds, DrawValues, add
from symdiag.permanents.scaling import best_assignment
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import Group, Member, PermutationSpec

_ROUNDS = (3, 12)  # of soft labels: at least, and at most
# units expected to have another label than their likeliest, at which soft labels are settled
_SURE = 1e-2
_PROGRESS = 0.02  # of that number, which a round must gain for another one to follow
_BALANCING = 8  # row and column normalisations of the soft labels of one round
_POLISH = 3  # rounds of assignment problems afterwards
_DOUBT = (1e-9, 0.1)  # least and most weight in τ of the law that needs no decoder
_FLOOR = 1e-6  # of a tensor's mean second moment, below which no soft variance falls


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of S draws: the element of each group that it would apply, and its
    doubt (S,) in [0, 1].
    """

    elements: Mapping[str, Element]
    doubt: Array


Labels = tuple[Tensor, Tensor | None]
"""(slot, unit) chances that a unit sits in a slot, unflipped and flipped (None where signs do not
flip).
"""


class Decoder:
    """Finds the labels of all groups from the weights alone, whatever labelling they come in.

    Soft labels are passed between the groups: each group sees the slots of the others averaged by
    their soft labels (mean and variance matched), which finds labels where assignments group after
    group are stuck. Every group must be a matrix permanent.
    """

    def __init__(
        self, spec: PermutationSpec, loc: Mapping[str, Tensor], scale: Mapping[str, Tensor]
    ) -> None:
        self.spec = spec
        self._mean = {name: value.double() for name, value in loc.items()}
        self._square = {name: value**2 + scale[name].double() ** 2 for name, value in loc.items()}
        self._whole = {g.name: SlotDensity(g, loc, scale) for g in spec}
        self._own: dict[str, SlotDensity | None] = {}
        self._shared: dict[str, tuple[str, ...]] = {}
        for group in spec:
            own = own_tensors(group, [g for g in spec if g is not group])
            self._own[group.name] = SlotDensity(group, loc, scale, own) if own else None
            self._shared[group.name] = tuple(n for n in group.tensors if n not in own)

    def __call__(self, draws: Mapping[str, Tensor], generator: np.random.Generator) -> Decoded:
        """The labels of S draws (name → (S, *shape)).

        Draws are relabelled at random first, so that nothing of their own labelling can show in
        what is found; the identity is the right answer.
        """
        count = len(next(iter(draws.values())))
        found = {
            g.name: uniform_elements(g, self._whole[g.name], count, generator) for g in self.spec
        }
        hidden = act(self.spec, found, draws)
        singles = [
            self._decoded({n: v[s : s + 1] for n, v in hidden.items()}) for s in range(count)
        ]
        for group in self.spec:
            batch = Element.concatenate([single[group.name] for single, _ in singles])
            found[group.name] = found[group.name].compose(batch)
        doubt = np.clip([0.05 * expected for _, expected in singles], *_DOUBT)
        return Decoded(self._polished(draws, found, generator), doubt)

    def _decoded(self, draw: Mapping[str, Tensor]) -> tuple[dict[str, Element], float]:
        """Labels of one draw (name → (1, *shape)) by rounds of soft labels; how many units may have
        wrong ones.
        """
        own = {g.name: self._own_parts(g, draw) for g in self.spec}
        scores = dict(own)
        labels = {name: _soft(*parts) for name, parts in own.items()}
        doubt = self._doubt(labels)
        for done in range(1, _ROUNDS[1] + 1):
            for group in self.spec:
                scores[group.name] = self._parts(group, own[group.name], labels, draw)
                labels[group.name] = _soft(*scores[group.name])
            previous, doubt = doubt, self._doubt(labels)
            stuck = previous - doubt < _PROGRESS * doubt and done >= _ROUNDS[0]
            if doubt < _SURE or stuck:
                break
        return {g.name: _hard(*scores[g.name]) for g in self.spec}, doubt

    def _doubt(self, labels: Mapping[str, Labels]) -> float:
        """How many units are expected to have another label than their likeliest."""
        return sum(_unsure(labels[g.name]) * g.width for g in self.spec)

    def _own_parts(self, group: Group, draw: Mapping[str, Tensor]) -> Labels:
        """Log densities from the tensors that show no other group's labels; zeros where there are
        none.
        """
        density = self._own[group.name]
        if density is not None:
            plus, minus = density.signed_parts(draw)
            return plus[0], None if minus is None else minus[0]
        zeros = torch.zeros(group.width, group.width, dtype=torch.float64)
        return zeros, zeros if group.signed else None

    def _parts(
        self, group: Group, own: Labels, labels: Mapping[str, Labels], draw: Mapping[str, Tensor]
    ) -> Labels:
        """Log densities of one group's slots from all its tensors, given the soft labels of the
        others.
        """
        names = self._shared[group.name]
        if not names:
            return own
        mean, scale = dict(self._mean), dict[str, Tensor]()
        for name in names:
            square = self._square[name]
            for other in self.spec:
                if other is not group and name in other.tensors:
                    for member in (m for m in other.members if m.tensor == name):
                        plus, minus = labels[other.name]
                        total = plus if minus is None else plus + minus
                        signed = plus if minus is None else plus - minus
                        first = signed if member.flips else total
                        mean[name] = _mixed(mean[name], member, first)
                        square = _mixed(square, member, total)
            floor = _FLOOR * float(square.mean()) + 1e-300
            scale[name] = torch.sqrt((square - mean[name] ** 2).clamp(min=floor))
        plus, minus = SlotDensity(group, mean, scale, names).signed_parts(draw)
        if own[1] is None or minus is None:
            return own[0] + plus[0], None
        return own[0] + plus[0], own[1] + minus[0]

    def _polished(
        self,
        draws: Mapping[str, Tensor],
        found: dict[str, Element],
        generator: np.random.Generator,
    ) -> dict[str, Element]:
        """Assignment problems group after group until nothing moves."""
        moved = act(self.spec, found, draws)
        for _ in range(_POLISH):
            quiet = True
            for group in self.spec:
                better = best_elements(moved, self._whole[group.name], 0.0, generator)
                if not better.is_identity:
                    quiet = False
                    found[group.name] = found[group.name].compose(better)
                    moved = act(self.spec, {group.name: better}, moved)
            if quiet:
                break
        return found


def _mixed(value: Tensor, member: Member, chance: Tensor) -> Tensor:
    """Σ_slot chance[slot, unit] value[…, slot, …] along the member's axis: what a unit at that
    place may hold.
    """
    moved = value.movedim(member.axis, 0)
    width = len(chance)
    span = member.span(width)
    own = moved[span]
    split = own.reshape(member.outer, width, member.inner, -1)
    mixed = torch.einsum("su,osir->ouir", chance, split).reshape(own.shape)
    if member.start is not None:
        whole = moved.clone()
        whole[span] = mixed
        mixed = whole
    return mixed.movedim(0, member.axis)


def _soft(plus: Tensor, minus: Tensor | None) -> Labels:
    """Chances from log densities (slot, unit), scaled to sum to 1 over slots and over units."""
    both = plus if minus is None else torch.logaddexp(plus, minus)
    # columns first: each is relative to the density of whatever slot the unit happens to sit in
    balanced = both - torch.logsumexp(both, 0, keepdim=True)
    for _ in range(_BALANCING):
        balanced = balanced - torch.logsumexp(balanced, 1, keepdim=True)
        balanced = balanced - torch.logsumexp(balanced, 0, keepdim=True)
    chance = torch.exp(balanced).nan_to_num(0.0)
    if minus is None:
        return chance, None
    odds = torch.sigmoid(plus - minus).nan_to_num(0.5)
    return chance * odds, chance * (1.0 - odds)


def _unsure(labels: Labels) -> float:
    """1 less the chance of each unit's likeliest label, averaged."""
    plus, minus = labels
    best = plus if minus is None else torch.maximum(plus, minus)
    return 1.0 - float(best.max(0).values.mean())


def _hard(plus: Tensor, minus: Tensor | None) -> Element:
    """The best element for log densities (slot, unit), as a batch of one."""
    kept = plus.numpy()
    flipped = None if minus is None else minus.numpy()
    columns = best_assignment(kept if flipped is None else np.maximum(kept, flipped))
    rows = np.arange(len(kept))
    order = rows if columns is None else columns
    signs = np.ones((1, len(rows)))
    if flipped is not None:
        signs = np.where(flipped[rows, order] > kept[rows, order], -1.0, 1.0)[None]
    return Element(order[None], signs)


def decoded_values(
    spec: PermutationSpec,
    found: Decoded,
    known: Mapping[str, DrawValues],
    draws: Mapping[str, Tensor],
    values: GroupValues,
) -> DrawValues:
    """Σ_l −log τ_l(e) per draw, an upper bound on H_G in expectation over ω ~ q.

    ``found`` is what a ``Decoder`` makes of these draws; ``known`` holds each group's values on
    them (reused where the later groups were decoded rightly).
    """
    terms = []
    for position, group in enumerate(spec.groups):
        later = [g for g in spec.groups[position + 1 :] if spec.adjacent(group, g)]
        elements = {g.name: found.elements[g.name] for g in later}
        term = known[group.name]
        if later:
            term = term.plus(-np.log1p(-found.doubt))
        wrong = np.flatnonzero(_moves(list(elements.values()), len(term)))
        if len(wrong):
            rows = torch.from_numpy(wrong)
            some = {name: draws[name][rows.to(draws[name].device)] for name in group.tensors}
            moved = act(spec, {name: e.take(wrong) for name, e in elements.items()}, some)
            kept = exclusive_tensors(group, later)
            blind = values(group, some, kept) if kept else _no_information(group, len(wrong))
            mixed = _mixture(values(group, moved, None), blind, found.doubt[wrong], group)
            term = term.replaced(wrong, mixed)
        terms.append(term)
    return add(terms)


def _no_information(group: Group, count: int) -> DrawValues:
    return DrawValues.of_exact(np.full(count, group.log_order), "log-order")


def _moves(elements: Sequence[Element], count: int) -> BoolArray:
    """(S,) whether any of the elements moves or flips anything."""
    moves = np.zeros(count, dtype=bool)
    for element in elements:
        units = np.arange(element.permutation.shape[-1])
        moves |= (element.permutation != units).any(1) | (element.signs < 0).any(1)
    return moves


def _mixture(seen: DrawValues, blind: DrawValues, doubt: Array, group: Group) -> DrawValues:
    """−log[(1 − doubt) e^{−seen} + doubt e^{−blind}]; −log(1 − doubt) + seen, up to log|G|, where
    sampled.

    The mixture is concave in both, so that noise in them would spoil an upper bound in expectation.
    """
    both = seen.exact & blind.exact
    first = seen.value - np.log1p(-doubt)
    value = -np.logaddexp(-first, np.log(doubt) - blind.value)
    most = group.log_order - np.log(doubt)
    sampled = np.minimum(seen.expectation.upper - np.log1p(-doubt), most)
    value = np.where(both, value, np.minimum(first, most))
    upper = np.where(both, value, sampled)
    return dataclasses.replace(
        seen,
        value=value,
        rao_blackwellised=value,  # a wrongly decoded draw has no average over labellings
        certified=DrawEnds.of(value, upper),
        expectation=DrawEnds.of(value, upper),
        probability=DrawEnds.of(value, upper),
    )
