"""Collapsed (pruned) units: nothing in them is distinguishable from zero (DESIGN.md 1.9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member

Array = NDArray[np.float64]

MAX_SIGNAL = 1.0
"""A unit is collapsed when the root mean square of μ/σ is below this on every tensor it owns a part of."""


def collapsed(posterior: Posterior, group: Group) -> NDArray[np.bool_]:
    """Which units of a group are switched off, (n,).

    An active unit shows signal (|μ| above σ) on its way in or on its way out; a pruned one has incoming
    weights that match the prior and outgoing weights at zero. The criterion needs neither the prior nor the
    direction of a tensor. A deterministic weight other than 0 counts as signal.
    """
    signal = np.stack([_signal(posterior, member, group.width) for member in group.members])
    return np.asarray((signal < MAX_SIGNAL).all(axis=0))


def _signal(posterior: Posterior, member: Member, width: int) -> Array:
    """Root mean square of μ/σ per unit, (n,)."""
    loc = blocks(posterior.loc[member.tensor], member, width)
    scale = blocks(posterior.scale[member.tensor], member, width)
    ratio = np.divide(loc, scale, out=np.where(loc == 0, 0.0, np.inf), where=scale > 0)
    return np.asarray(np.sqrt((ratio**2).mean(axis=1)))


def blocks(array: Array, member: Member, width: int) -> Array:
    """A member's entries by unit, (n, D)."""
    moved = np.moveaxis(array, member.axis, 0)
    split = moved.reshape(member.outer, width, member.inner, -1)
    return np.moveaxis(split, 1, 0).reshape(width, -1)
