"""Tensors that a file holds under several names: one parameter to the network, so one to the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from symdiag.formats.fields import Field, Slot
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.state_dict import dotted


def merge_tied(
    fields: Sequence[Field], raw: RawCheckpoint
) -> tuple[tuple[Field, ...], tuple[tuple[str, ...], ...]]:
    """``fields`` with every repeated tensor once, its other places as copies to write to; and the sets of names.

    A tensor repeats another if both means are one tensor in the file, and both stds too, or only one has a std (an
    optimiser keeps one for each parameter, a state dict lists the parameter under all its names). Counted twice, its
    units would seem farther apart than they are; counted once as deterministic, they could not move at all.
    """
    kept: list[Field] = []
    names: dict[str, list[str]] = {}
    sharing = {key: number for number, group in enumerate(raw.tied) for key in group}
    candidates: dict[int, list[int]] = {}
    for item in fields:
        group = sharing.get(dotted(item.loc.path))
        earlier = [] if group is None else candidates.setdefault(group, [])
        position = next((i for i in earlier if _same(item, kept[i], raw)), None)
        if position is None:
            earlier.append(len(kept))
            kept.append(item)
            continue
        known = kept[position]
        names.setdefault(known.name, [known.name]).append(item.name)
        kept[position] = _joined(known, item)
    return tuple(kept), tuple(tuple(group) for group in names.values())


def _joined(known: Field, again: Field) -> Field:
    """``known`` with the places of ``again`` as copies, and its std if only ``again`` has one."""
    copies = (*known.loc_copies, again.loc, *again.loc_copies)
    if known.scale is None and again.scale is not None:
        known = replace(
            known, scale=again.scale, transform=again.transform, scale_copies=again.scale_copies
        )
    elif again.scale is not None:
        known = replace(known, scale_copies=(*known.scale_copies, again.scale, *again.scale_copies))
    return replace(known, loc_copies=copies, joint=known.joint or again.joint)


def _same(one: Field, other: Field, raw: RawCheckpoint) -> bool:
    if not _one_tensor(one.loc, other.loc, raw):
        return False
    return one.scale is None or other.scale is None or _one_tensor(one.scale, other.scale, raw)


def _one_tensor(one: Slot, other: Slot, raw: RawCheckpoint) -> bool:
    """Whether two slots are whole tensors, of one shape and storage, with the same numbers."""
    if one.start is not None or other.start is not None or one.shape != other.shape:
        return False
    keys = {dotted(one.path), dotted(other.path)}
    shared = any(keys <= set(group) for group in raw.tied)
    return shared and np.array_equal(one.get(raw.tree), other.get(raw.tree), equal_nan=True)
