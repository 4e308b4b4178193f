"""Permutation specs: which axes of which tensors one group of neurons moves together.

A *group* is one set of interchangeable units (a hidden layer, the channels of a convolution, a
residual stream, the heads of an attention layer). A *member* is one tensor axis it acts on.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from symdiag.display import Shown, SmallTable


@dataclass(frozen=True)
class Member:
    """One tensor axis on which a group acts.

    The axis, of length ``outer * width * inner``, is read as shape ``(outer, width, inner)`` in C
    order and the group permutes the middle index: ``inner > 1`` for the columns that one channel
    owns after a flatten (C, H, W) or for the rows of one attention head; ``outer > 1`` for stacked
    gates or q/k/v. ``flips`` says whether a sign flip of the unit negates these entries. With a
    ``start`` the units own only as many entries from there on: a layer that reads units
    concatenated with others has columns for each of them.
    """

    tensor: str
    axis: int
    outer: int = 1
    inner: int = 1
    flips: bool = True
    start: int | None = None

    def span(self, width: int) -> slice:
        """The part of the axis that ``width`` units own."""
        return (
            slice(None)
            if self.start is None
            else slice(self.start, self.start + self.outer * width * self.inner)
        )

    def fits(self, length: int, width: int) -> bool:
        """Whether an axis of that length has room for ``width`` units, and none to spare without a
        ``start``.
        """
        size = self.outer * width * self.inner
        return size == length if self.start is None else 0 <= self.start <= length - size


@dataclass(frozen=True)
class Group:
    """``width`` interchangeable units; ``signed`` adds sign flips (odd activation): order 2^n n!."""

    name: str
    width: int
    members: tuple[Member, ...]
    signed: bool = False

    @property
    def log_order(self) -> float:
        """log|G| in nats: log n!, plus n log 2 with sign flips."""
        signs = self.width * math.log(2.0) if self.signed else 0.0
        return math.lgamma(self.width + 1) + signs

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors touched, each once, in member order."""
        return tuple(dict.fromkeys(m.tensor for m in self.members))

    @property
    def is_matrix_permanent(self) -> bool:
        """Whether, other groups held fixed, the symmetrised density is one matrix permanent.

        It is not when the group acts on two axes of the same tensor (recurrent weights). Two ranges
        of one axis are part of a unit's block like two tensors.
        """
        # on two axes the cost of unit i at place j depends on where the
        # others went: a quadratic assignment, not a sum of n entries
        return len(self.tensors) == len({(m.tensor, m.axis) for m in self.members})


@dataclass(frozen=True, repr=False)
class PermutationSpec(Shown):
    """The groups found in a network. ``notes`` records assumptions made while inferring them."""

    groups: tuple[Group, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def log_order(self) -> float:
        """log|G| of the product group, nats."""
        return sum(g.log_order for g in self.groups)

    def _small_table(self) -> SmallTable:
        groups = f"{len(self.groups)} group{'' if len(self.groups) == 1 else 's'}"
        return SmallTable(
            f"PermutationSpec: {groups}, log|G| = {self.log_order:.1f} nats",
            ("group", "units", "signs", "log|G|", "tensors"),
            [
                (
                    g.name,
                    str(g.width),
                    "flip" if g.signed else "fixed",
                    f"{g.log_order:.1f}",
                    ", ".join(g.tensors),
                )
                for g in self.groups
            ],
        )

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, name: str) -> Group:
        """The group called ``name`` (KeyError if there is none)."""
        return {g.name: g for g in self.groups}[name]

    def restricted(self, tensors: Container[str]) -> PermutationSpec:
        """The same groups acting on ``tensors`` alone, such as the weights without the buffers that
        move with them.
        """
        groups = (
            replace(g, members=tuple(m for m in g.members if m.tensor in tensors))
            for g in self.groups
        )
        return replace(self, groups=tuple(g for g in groups if g.members))

    def left_out(self, tensor: str, shape: tuple[int, ...]) -> int:
        """Number of the entries of a tensor that no group moves: outside every member's range on
        every axis.
        """
        free = [np.ones(length, dtype=bool) for length in shape]
        for group in self.groups:
            for member in group.members:
                if member.tensor == tensor:
                    free[member.axis][member.span(group.width)] = False
        # an entry moves if one of its axes does, so the fixed ones are a product of fixed positions
        return math.prod(int(axis.sum()) for axis in free)

    def adjacent(self, first: Group, second: Group) -> bool:
        """Whether two groups share a tensor (docs/theory/estimators.md: entropies add exactly when they do
        not).

        Groups on two ranges of one axis count: apart under a mean field, a posterior with
            correlations ties them.
        """
        return bool(set(first.tensors) & set(second.tensors))
