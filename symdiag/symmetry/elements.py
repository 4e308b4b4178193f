"""Group elements and their action on named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from symdiag.symmetry.spec import Group, Member, PermutationSpec

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Element:
    """One group element: new unit i is old unit ``permutation[i]``, times ``signs[i]``."""

    permutation: NDArray[np.intp]  # (n,)
    signs: NDArray[np.float64]  # (n,), entries ±1

    @classmethod
    def identity(cls, width: int) -> Element:
        """The neutral element of a group of ``width`` units."""
        return cls(np.arange(width), np.ones(width))

    @classmethod
    def random(cls, group: Group, generator: np.random.Generator) -> Element:
        """A uniformly random element of ``group``."""
        signs = np.ones(group.width)
        if group.signed:
            signs = generator.choice(np.array([-1.0, 1.0]), size=group.width)
        return cls(generator.permutation(group.width), signs)

    def inverse(self) -> Element:
        """The element that undoes this one."""
        inverse = np.argsort(self.permutation)
        return Element(inverse, self.signs[inverse])

    def compose(self, after: Element) -> Element:
        """This element followed by ``after``."""
        return Element(
            self.permutation[after.permutation], after.signs * self.signs[after.permutation]
        )

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves and nothing flips."""
        return bool(
            (self.permutation == np.arange(len(self.permutation))).all() and (self.signs > 0).all()
        )


Action = Mapping[str, Element]
"""Group name → element; groups left out stay at the identity."""


def act_on_axis(
    array: FloatArray, member: Member, element: Element, *, flip: bool = True
) -> FloatArray:
    """``element`` applied to one member axis. ``flip=False`` moves without changing signs (for scales)."""
    moved = np.moveaxis(array, member.axis, 0)
    span = member.span(len(element.permutation))
    own = moved[span]
    blocks = own.reshape(member.outer, len(element.permutation), member.inner, *own.shape[1:])
    blocks = blocks[:, element.permutation]
    if flip and member.flips and (element.signs < 0).any():
        shape = (1, -1) + (1,) * (blocks.ndim - 2)
        blocks = blocks * element.signs.astype(blocks.dtype).reshape(shape)
    result = blocks.reshape(own.shape)
    if member.start is not None:
        whole = moved.copy()
        whole[span] = result
        result = whole
    return np.moveaxis(result, 0, member.axis)


def act(
    spec: PermutationSpec, action: Action, arrays: Mapping[str, FloatArray], *, flip: bool = True
) -> dict[str, FloatArray]:
    """``action`` applied to named arrays (tensors the spec does not name pass through unchanged).

    Use ``flip=True`` for weights and posterior means, ``flip=False`` for scales.
    """
    result = dict(arrays)
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


def invert(action: Action) -> dict[str, Element]:
    """The action that undoes ``action`` (groups commute: each acts on its own axes)."""
    return {name: element.inverse() for name, element in action.items()}
