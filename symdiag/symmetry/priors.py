"""Whether a stored prior is invariant under a group: the theory (DESIGN.md 1.2) needs p(ω) = p(gω)."""

from __future__ import annotations

import numpy as np

from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import Group, PermutationSpec

_RELATIVE = 1e-6
"""Entries of a prior that differ by less, relatively, are one number stored in single precision."""


def prior_violations(spec: PermutationSpec, posterior: Posterior) -> tuple[tuple[str, str], ...]:
    """``(tensor, group)`` for every tensor whose stored prior changes under the group; empty without a stored prior.

    Generators suffice: a transposition, a cycle, and one sign flip for signed groups.
    """
    if posterior.prior is None:
        return ()
    shapes = posterior.shapes
    parts = [
        ({n: np.broadcast_to(v, shapes[n]) for n, v in stored.items() if n in shapes}, flip)
        for stored, flip in ((posterior.prior.loc, True), (posterior.prior.scale, False))
    ]
    found: list[tuple[str, str]] = []
    for group in spec:
        one = PermutationSpec((group,))
        for element in _generators(group):
            for arrays, flip in parts:
                mine = {name: arrays[name] for name in group.tensors if name in arrays}
                moved = act(one, {group.name: element}, mine, flip=flip)
                found += [(n, group.name) for n in mine if not _equal(mine[n], moved[n])]
    return tuple(dict.fromkeys(found))


def _generators(group: Group) -> list[Element]:
    ones = np.ones(group.width)
    swap = np.arange(group.width)
    swap[:2] = swap[:2][::-1]
    elements = [Element(swap, ones), Element(np.roll(np.arange(group.width), 1), ones)]
    if group.signed:
        flip = ones.copy()
        flip[0] = -1.0
        elements.append(Element(np.arange(group.width), flip))
    return elements


def _equal(before: np.ndarray, after: np.ndarray) -> bool:
    return bool(
        np.allclose(
            before, after, rtol=_RELATIVE, atol=_RELATIVE * float(np.abs(before).max(initial=0.0))
        )
    )
