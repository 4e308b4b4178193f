"""Two posteriors and a spec as an assignment problem: every tensor with its group axes brought to
the front.

A tensor whose axes are shared by several groups (a layer that reads concatenated units) makes a
block of every combination of their ranges.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np

from symdiag.alignment.costs import Cost, Weights
from symdiag.arrays import Array
from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import Group, Member, PermutationSpec

State = tuple[Element, ...]
"""One element per group, in spec order."""

Owner = tuple[int, Member]
"""Index of a group in the spec, and one of its members."""


@dataclass(frozen=True)
class Axis:
    """One group axis of a block: index of the group in the spec, and whether sign flips negate
    these entries.
    """

    group: int
    flips: bool


@dataclass(frozen=True)
class TensorBlock:
    """One tensor of both posteriors, or the part of it that some groups own, shaped (n_1, …, n_k,
    f): its k group axes, then everything else.
    """

    tensor: str
    axes: tuple[Axis, ...]
    model: Weights
    reference: Weights

    def positions(self, group: int) -> list[int]:
        """Axes on which ``group`` acts."""
        return [k for k, axis in enumerate(self.axes) if axis.group == group]

    @property
    def groups(self) -> frozenset[int]:
        """Groups acting on this tensor."""
        return frozenset(axis.group for axis in self.axes)


@dataclass(frozen=True)
class Assignment:
    """What the search works on. ``constant`` is the cost of the weights that no group touches."""

    spec: PermutationSpec
    cost: Cost
    blocks: tuple[TensorBlock, ...]
    constant: float

    @property
    def groups(self) -> tuple[Group, ...]:
        """The spec's groups."""
        return self.spec.groups

    def touching(self, group: int) -> list[TensorBlock]:
        """Blocks on which ``group`` acts."""
        return [b for b in self.blocks if group in b.groups]

    @cached_property
    def neighbours(self) -> tuple[frozenset[int], ...]:
        """Per group, the groups whose cost matrix depends on it (itself, when it acts twice on one
        tensor).
        """
        found: list[set[int]] = [set() for _ in self.groups]
        for block in self.blocks:
            for group in block.groups:
                found[group] |= block.groups - {group}
                if len(block.positions(group)) > 1:
                    found[group].add(group)
        return tuple(frozenset(f) for f in found)

    @property
    def size(self) -> int:
        """Number of weights that some group moves."""
        return sum(b.model.loc.size for b in self.blocks)

    def single_precision(self) -> Assignment:
        """The same problem with float32 arrays: half the time in matrix products, for searching
        only.
        """
        blocks = (
            replace(b, model=_single(b.model), reference=_single(b.reference)) for b in self.blocks
        )
        return replace(self, blocks=tuple(blocks))

    @property
    def is_separable(self) -> bool:
        """Whether no tensor couples two groups: one assignment per group is then globally optimal."""
        return not any(self.neighbours)

    @cached_property
    def negligible(self) -> float:
        """A distance that rounding alone could produce."""
        return 1e-13 * sum(
            float((w.loc**2).sum()) for b in self.blocks for w in (b.model, b.reference)
        )

    def identity(self) -> State:
        """The state that moves nothing."""
        return tuple(Element.identity(g.width) for g in self.groups)

    def distance(self, state: State) -> float:
        """Total cost of the model moved by ``state``, entry by entry (exactly 0 for identical
        posteriors).
        """
        return self.constant + sum(self.block_distance(b, state) for b in self.blocks)

    def block_distance(self, block: TensorBlock, state: State) -> float:
        """Cost of one tensor with every axis moved by ``state``."""
        moved = moved_weights(block, state)
        return float(self.cost.elementwise(moved, block.reference).sum())


def _single(weights: Weights) -> Weights:
    loc, scale = (None if a is None else a.astype(np.float32) for a in weights)
    return Weights(cast("Array", loc), cast("Array | None", scale))


def moved_weights(block: TensorBlock, state: State, *, but: int | None = None) -> Weights:
    """The model's side of ``block`` with its axes moved by ``state``, axis number ``but`` left
    alone.
    """
    loc, scale = block.model
    for k, axis in enumerate(block.axes):
        element = state[axis.group]
        if k == but or element.is_identity:
            continue
        loc = loc.take(element.permutation, axis=k)
        scale = None if scale is None else scale.take(element.permutation, axis=k)
        if axis.flips and (element.signs < 0).any():
            loc = loc * element.signs.reshape([-1 if i == k else 1 for i in range(loc.ndim)])
    return Weights(loc, scale)


def rows(weights: Weights, axis: int) -> Weights:
    """Blocks of the units along ``axis``, flattened: (n, d)."""

    def unfold(array: Array) -> Array:
        moved: Array = np.moveaxis(array, axis, 0)
        return moved.reshape(len(moved), -1)

    return Weights(unfold(weights.loc), None if weights.scale is None else unfold(weights.scale))


def build_assignment(
    model: Posterior, reference: Posterior, spec: PermutationSpec, cost: Cost
) -> Assignment:
    """The assignment problem of aligning ``model`` to ``reference`` (buffers that move with units
    do not count).

    Raises:
        UsageError: the posteriors differ in tensor names or shapes, or the spec does not fit them.
    """
    check_compatible(model, reference, spec)
    floor = _width_floor(model, reference) if cost.needs_width else None
    members = members_by_tensor(spec)
    blocks, constant = [], 0.0
    for name in model.names:
        pair = [_weights(p.loc[name], p.scale[name], floor) for p in (model, reference)]
        if all(w.scale is not None and not w.scale.any() for w in pair):
            pair = [Weights(w.loc, None) for w in pair]
        for cell, owners in _cells(model.shapes[name], members.get(name, []), spec):
            part = [_part(w, cell) for w in pair]
            if not owners:
                constant += float(cost.elementwise(*part).sum())
                continue
            axes = tuple(Axis(g, spec.groups[g].signed and m.flips) for g, m in owners)
            blocks.append(TensorBlock(name, axes, *(_bring_forward(w, owners, spec) for w in part)))
    return Assignment(spec, cost, tuple(blocks), constant)


def _part(weights: Weights, cell: tuple[slice, ...]) -> Weights:
    if not cell:  # a scalar stays an array
        return weights
    return Weights(weights.loc[cell], None if weights.scale is None else weights.scale[cell])


def _cells(
    shape: tuple[int, ...], members: Sequence[Owner], spec: PermutationSpec
) -> Iterator[tuple[tuple[slice, ...], list[Owner]]]:
    """The parts of a tensor in which every axis belongs to one member or to none, with their
    members in order.
    """
    ranges = [
        _ranges(length, [o for o in members if o[1].axis % len(shape) == axis], spec)
        for axis, length in enumerate(shape)
    ]
    for combination in itertools.product(*ranges):
        owners = [owner for _, owner in combination if owner is not None]
        yield tuple(span for span, _ in combination), sorted(owners, key=members.index)


def _ranges(
    length: int, owners: Sequence[Owner], spec: PermutationSpec
) -> list[tuple[slice, Owner | None]]:
    """An axis cut where its owners change; stretches between them belong to nobody."""
    result: list[tuple[slice, Owner | None]] = []
    end = 0
    for place, owner in sorted(
        ((range(length)[m.span(spec.groups[g].width)], (g, m)) for g, m in owners), key=_begin
    ):
        if place.start < end:
            raise UsageError("two groups claim one tensor axis", code="spec-mismatch")
        result += [(slice(end, place.start), None)] if place.start > end else []
        result.append((slice(place.start, place.stop), owner))
        end = place.stop
    return result + ([(slice(end, length), None)] if end < length or not owners else [])


def _begin(entry: tuple[range, Owner]) -> int:
    return entry[0].start


def members_by_tensor(spec: PermutationSpec) -> dict[str, list[Owner]]:
    """Tensor name → (group index, member) pairs acting on it."""
    found: dict[str, list[Owner]] = {}
    for index, group in enumerate(spec):
        for member in group.members:
            found.setdefault(member.tensor, []).append((index, member))
    return found


def check_compatible(model: Posterior, reference: Posterior, spec: PermutationSpec) -> None:
    """UsageError unless both posteriors have the same tensors and every member axis has its group's
    length.
    """
    if model.shapes != reference.shapes:
        differing = sorted({name for name, _ in model.shapes.items() ^ reference.shapes.items()})
        raise UsageError(
            f"the posteriors differ in tensors: {', '.join(differing[:5])}",
            code="architectures-differ",
            hint="only posteriors over the same architecture can be aligned",
        )
    for group in spec:
        for member in group.members:
            shape = model.shapes.get(member.tensor)
            if shape is not None and not member.fits(shape[member.axis], group.width):
                raise UsageError(
                    f"group {group.name} does not fit {member.tensor} of shape {shape}",
                    code="spec-mismatch",
                )


def _weights(loc: Array, scale: Array, floor: float | None) -> Weights:
    return Weights(loc, scale if floor is None else np.maximum(scale, floor))


def _width_floor(model: Posterior, reference: Posterior) -> float:
    """Smallest positive std of the two posteriors, 1 if all weights are deterministic."""
    smallest = [
        s[s > 0].min() for p in (model, reference) for s in p.scale.values() if (s > 0).any()
    ]
    return float(min(smallest, default=1.0))


def _bring_forward(weights: Weights, owners: list[Owner], spec: PermutationSpec) -> Weights:
    members, widths = [m for _, m in owners], [spec.groups[g].width for g, _ in owners]
    loc = _axes_first(weights.loc, members, widths)
    return Weights(
        loc, None if weights.scale is None else _axes_first(weights.scale, members, widths)
    )


def _axes_first(array: Array, members: list[Member], widths: list[int]) -> Array:
    """``array`` reshaped to (n_1, …, n_k, f): member axes split into (outer, width, inner), widths
    moved first.
    """
    split: list[int] = []
    front: dict[int, int] = {}
    by_axis = {m.axis % array.ndim: (k, m) for k, m in enumerate(members)}
    for axis, length in enumerate(array.shape):
        if axis in by_axis:
            k, member = by_axis[axis]
            front[k] = len(split) + 1
            split += [member.outer, widths[k], member.inner]
        else:
            split.append(length)
    order = [front[k] for k in range(len(members))]
    rest = [a for a in range(len(split)) if a not in order]
    moved = array.reshape(split).transpose(order + rest)
    return np.ascontiguousarray(moved.reshape(*widths, -1), dtype=np.float64)
