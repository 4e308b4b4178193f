"""Collapsed units: nothing in them is distinguishable from zero (docs/theory/straddling.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member

MAX_SIGNAL = 0.5
"""A unit is collapsed when the root mean square of μ/σ is below this on its way in or out."""


def collapsed(posterior: Posterior, group: Group) -> NDArray[np.bool_]:
    """Which units of a group are switched off, (n,).

    A unit acts on the output only if weights into it *and* weights out of it differ from zero. A
    pruned one has a matrix in which all its weights are lost in their own stds: usually the
    outgoing one, while the incoming one matches the prior or, behind a ReLU, has a bias that keeps
    the unit off. The criterion needs neither the prior nor the direction of a tensor. A
    deterministic weight other than 0 counts as signal.
    """
    # A bias has signal of its own (behind a ReLU it keeps the unit off), so only matrices count.
    members = [m for m in group.members if _is_matrix(posterior, m)] or list(group.members)
    # Members on one axis of one tensor are pieces of the same side of the unit.
    places = dict.fromkeys((m.tensor, m.axis) for m in members)
    owned = [[m for m in members if (m.tensor, m.axis) == place] for place in places]
    signal = np.stack([_signal(posterior, parts, group.width) for parts in owned])
    return np.asarray((signal < MAX_SIGNAL).any(axis=0))


def _is_matrix(posterior: Posterior, member: Member) -> bool:
    """Whether the tensor connects layers: two axes or more, and not a bias stored as (1, n)."""
    return posterior.loc[member.tensor].ndim >= 2 and "bias" not in member.tensor.rsplit(".", 1)[-1]


def _signal(posterior: Posterior, members: Sequence[Member], width: int) -> Array:
    """Root mean square of μ/σ per unit over all its entries on one axis of a tensor, (n,)."""
    loc = np.concatenate([blocks(posterior.loc[m.tensor], m, width) for m in members], axis=1)
    scale = np.concatenate([blocks(posterior.scale[m.tensor], m, width) for m in members], axis=1)
    # (n, D); a deterministic weight is infinitely certain, unless it is exactly 0.
    ratio = np.divide(loc, scale, out=np.where(loc == 0, 0.0, np.inf), where=scale > 0)
    return np.asarray(np.sqrt((ratio**2).mean(axis=1)))


def blocks(array: Array, member: Member, width: int) -> Array:
    """A member's entries by unit, (n, D)."""
    # (units, ...) → (outer, n, inner, rest): a unit's entries may be spread over an axis, as
    # channels flattened behind a convolution are.
    moved = np.moveaxis(array, member.axis, 0)[member.span(width)]
    split = moved.reshape(member.outer, width, member.inner, -1)
    return np.moveaxis(split, 1, 0).reshape(width, -1)
