"""Applying a group element to things with weights in them: posteriors, and anyone's dict of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from symdiag.posterior import Array, Covariance, Posterior
from symdiag.symmetry.elements import Action, Element, act
from symdiag.symmetry.spec import Member, PermutationSpec

T = TypeVar("T")


def move_posterior(posterior: Posterior, spec: PermutationSpec, action: Action) -> Posterior:
    """``posterior`` with its units reordered and flipped: means, stds, buffers and covariance move together."""
    moved = replace(
        posterior,
        loc=cast("dict[str, Array]", act(spec, action, posterior.loc)),
        scale=_move_scales(posterior, spec, action),
        buffers=cast("dict[str, Array]", act(spec, action, posterior.buffers)),
    )
    if posterior.covariance is None:
        return moved
    return replace(
        moved, covariance=_move_covariance(posterior, spec, action, posterior.covariance)
    )


def _move_scales(posterior: Posterior, spec: PermutationSpec, action: Action) -> dict[str, Array]:
    random = {name: scale for name, scale in posterior.scale.items() if scale.any()}
    return {**posterior.scale, **cast("dict[str, Array]", act(spec, action, random, flip=False))}


def _move_covariance(
    posterior: Posterior, spec: PermutationSpec, action: Action, before: Covariance
) -> Covariance:
    """Rows of the factor follow their weights: which flat position each came from, and with which sign."""
    shapes = {name: posterior.loc[name].shape for name in before.order}
    positions, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        positions[name] = np.arange(start, start + size, dtype=np.float64).reshape(shape)
        start += size
    came_from = act(spec, action, positions, flip=False)
    signs = act(spec, action, {name: np.ones(shape) for name, shape in shapes.items()})
    order = np.concatenate([came_from[name].ravel() for name in before.order]).astype(np.intp)
    sign = np.concatenate([signs[name].ravel() for name in before.order])
    return replace(
        before, factor=before.factor[order] * sign[:, None], diagonal=before.diagonal[order]
    )


def move_tensors(
    tensors: Mapping[str, T], spec: PermutationSpec, action: Action, *, flip: bool = True
) -> dict[str, T]:
    """``action`` applied to any dict of NumPy arrays or torch tensors that uses the spec's names (others pass through).

    Args:
        tensors: for example a ``state_dict``. Nothing is modified in place.
        spec: says which axes belong to which group.
        action: the permutations and signs.
        flip: False for quantities without a sign, such as stds.
    """
    result: dict[str, Any] = dict(tensors)
    for group in spec:
        element = action.get(group.name)
        for member in group.members if element is not None else ():
            if member.tensor in result:
                assert element is not None
                result[member.tensor] = _move_axis(result[member.tensor], member, element, flip)
    return result


def _move_axis(tensor: Any, member: Member, element: Element, flip: bool) -> Any:
    """Plain advanced indexing, which NumPy and torch share; it copies, so the sign change is not seen outside."""
    axis = member.axis % tensor.ndim
    index, negative = _axis_index(tensor.shape[axis], member, element)
    moved = tensor[(slice(None),) * axis + (index,)]
    if flip and member.flips and len(negative):
        moved[(slice(None),) * axis + (negative,)] *= -1
    return moved


def _axis_index(
    length: int, member: Member, element: Element
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Old position of every new position along the axis, and the new positions whose sign changes."""
    width = len(element.permutation)
    index, span = np.arange(length), member.span(width)
    positions = index[span].copy().reshape(member.outer, width, member.inner)
    index[span] = positions[:, element.permutation].ravel()
    negative = positions[:, element.signs < 0].ravel()
    return index, negative
