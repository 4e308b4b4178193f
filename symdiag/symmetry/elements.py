"""Group elements, one or a batch of them, and their action on named arrays (NumPy's or torch's)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.symmetry.spec import Group, Member, PermutationSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Element:
    """Elements of one group: new unit i is old unit ``permutation[i]``, times ``signs[i]``.

    The last axis runs over the n units. K elements at once have a first axis more; ``act`` then
    moves the k-th entry of every array by the k-th element.
    """

    permutation: NDArray[np.intp]  # (n,) or (K, n)
    signs: Array  # the same shape, entries ±1

    @classmethod
    def identity(cls, width: int, count: int | None = None) -> Element:
        """The neutral element of a group of ``width`` units, or ``count`` copies of it."""
        shape = (width,) if count is None else (count, width)
        return cls(np.broadcast_to(np.arange(width), shape).copy(), np.ones(shape))

    @classmethod
    def random(
        cls, group: Group, generator: np.random.Generator, count: int | None = None
    ) -> Element:
        """A uniformly random element of ``group``, or ``count`` independent ones."""
        if count is None:
            # signs first: the meaning of a seed must not change between versions
            signs = _random_signs(group, (group.width,), generator)
            return cls(generator.permutation(group.width), signs)
        identity = cls.identity(group.width, count).permutation
        # permuted shuffles every row on its own; permutation would give all K elements one order
        permutation = generator.permuted(identity, axis=1)
        return cls(permutation, _random_signs(group, permutation.shape, generator))

    @classmethod
    def concatenate(cls, parts: Sequence[Element]) -> Element:
        """Several batches as one."""
        return cls(
            np.concatenate([p.permutation for p in parts]), np.concatenate([p.signs for p in parts])
        )

    def __len__(self) -> int:
        """Number of elements in a batch."""
        return len(self.permutation) if self.permutation.ndim > 1 else 1

    def take(self, which: Any) -> Element:
        """Some elements of a batch: one (an integer) or a batch (integers, a mask or a slice)."""
        return Element(self.permutation[which], self.signs[which])

    def inverse(self) -> Element:
        """The elements that undo these."""
        # argsort inverts a permutation: the entry that
        # holds i comes to place i, and its sign with it
        order = np.argsort(self.permutation, axis=-1)
        return Element(order, np.take_along_axis(self.signs, order, axis=-1))

    def compose(self, after: Element) -> Element:
        """Each element followed by the one of ``after``."""
        # unit i of the result is unit after.permutation[i]
        # of the first: that unit's sign goes along
        signs = np.take_along_axis(self.signs, after.permutation, axis=-1)
        permutation = np.take_along_axis(self.permutation, after.permutation, axis=-1)
        return Element(permutation, after.signs * signs)

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves and nothing flips, in any element of a batch."""
        # the whole batch at once: (n,) broadcasts against (n,) and (K, n)
        units = np.arange(self.permutation.shape[-1])
        return bool((self.permutation == units).all() and (self.signs > 0).all())


Action = Mapping[str, Element]
"""Group name → element (or a batch, of one length in all groups); groups left out stay at the
identity.
"""


def _random_signs(
    group: Group, shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.float64]:
    # unsigned groups consume nothing here: drawing and discarding would change what a seed means
    return generator.choice(np.array([-1.0, 1.0]), size=shape) if group.signed else np.ones(shape)


def generators(group: Group) -> tuple[Element, ...]:
    """A transposition and an n-cycle, which generate S_n, and where signed a flip of one unit."""
    units, ones = np.arange(group.width), np.ones(group.width)
    swap, flip = units.copy(), ones.copy()
    swap[:2], flip[0] = swap[:2][::-1].copy(), -1.0
    # for n = 1 both are the identity, for n = 2 the same swap: still generators, only redundant
    permutations = (Element(swap, ones), Element(np.roll(units, 1), ones))
    return (*permutations, Element(units, flip)) if group.signed else permutations


def act_on_axis(array: T, member: Member, element: Element, *, flip: bool = True) -> T:
    """``element`` applied to one member axis of a NumPy array or torch tensor; never in place.

    Args:
        array: (*shape); for a batch of K elements (K, *shape), or (1, *shape) where all start from
            one array.
        member: which axis of ``shape``, and which part of it, the units own.
        element: one element or a batch.
        flip: False moves without changing signs (for scales).

    Raises:
        ValueError: There is no such axis, or it has no room for the group's units.
    """
    given: Any = array  # NumPy and torch share indexing, swapaxes and products
    batched = element.permutation.ndim > 1
    # axes count within one array, whether or not a batch axis stands before it
    rank = given.ndim - batched
    if not -rank <= member.axis < rank:
        raise ValueError(f"{member.tensor} has no axis {member.axis}")
    axis = member.axis % rank + batched
    index, negative = _along_axis(given.shape[axis], member, element)
    if batched:  # advanced indices side by side: (K, 1) and (K, L) pick (K, L, ...)
        rows = np.arange(len(element))[:, None] if len(given) > 1 else np.zeros((1, 1), np.intp)
        moved = given.swapaxes(axis, 1)[rows, index]
    else:
        moved = given.swapaxes(axis, 0)[index]
    if flip and member.flips and negative.any():
        moved[negative] *= -1  # a copy already: advanced indexing never returns a view
    result: T = moved.swapaxes(axis, int(batched))
    return result


def _along_axis(
    length: int, member: Member, element: Element
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Old position of every new position along an axis, and which new positions change sign: (L,)
    or (K, L).
    """
    width = element.permutation.shape[-1]
    batch = element.permutation.shape[:-1]
    index, span = np.arange(length), member.span(width)
    # C order: the position of (o, u, i) is (o * width + u) * inner + i, so views do the arithmetic
    own = index[span].reshape(member.outer, width, member.inner)
    positions = own[:, element.permutation]  # (outer, K, n, inner), K left out for one element
    # the batch first, then C order again over (outer, n, inner)
    positions = np.moveaxis(positions, 0, len(batch)).reshape(*batch, -1)
    signs = np.broadcast_to(element.signs[..., None, :, None], (*batch, *own.shape))
    # entries outside the member's span stay where they are, with their sign
    whole = np.broadcast_to(index, (*batch, length)).copy()
    negative = np.zeros(whole.shape, dtype=np.bool_)
    whole[..., span], negative[..., span] = positions, signs.reshape(*batch, -1) < 0
    return whole, negative


def act(
    spec: PermutationSpec, action: Action, arrays: Mapping[str, T], *, flip: bool = True
) -> dict[str, T]:
    """``action`` applied to named arrays or tensors (those the spec does not name pass through
    unchanged).

    Use ``flip=True`` for weights and posterior means, ``flip=False`` for scales.
    """
    result = dict(arrays)
    # in any order: members of two groups own different axes or ranges, so their actions commute
    for group in spec:
        element = action.get(group.name)
        if element is None:
            continue
        for member in group.members:
            if member.tensor in result:
                result[member.tensor] = act_on_axis(
                    result[member.tensor], member, element, flip=flip
                )
    return result


def random_action(spec: PermutationSpec, generator: np.random.Generator) -> dict[str, Element]:
    """A uniformly random element of the whole group."""
    return {g.name: Element.random(g, generator) for g in spec}
