"""A posterior with some units fewer, as its own library would have stored it.

What the file holds is cut, means, scales, copies, buffers and stored priors alike, and then read
again: the narrower posterior has everything that a file of that width would have given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import UnsupportedError
from symdiag.formats.fields import Slot, Template
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree
from symdiag.formats.interpretation import interpret
from symdiag.formats.loading import to_raw
from symdiag.formats.tree import Path, dotted, replaced, walk
from symdiag.posterior import Posterior

Kept = Mapping[str, Mapping[int, NDArray[np.intp]]]
"""Tensor or buffer name → axis → indices that stay, in ascending order."""


def narrowed(posterior: Posterior, kept: Kept) -> Posterior:
    """``posterior`` without the entries that ``kept`` leaves out.

    Raises:
        UsageError: ``no-source``: it was not read from a file.
        UnsupportedError: ``cannot-narrow``: the file keeps its weights in flat vectors or with
            correlations, where a tensor has no array of its own.
    """
    # from the posterior's values, not the file's: it may have been aligned or averaged since
    raw = to_raw(posterior)
    source = posterior.source
    assert source is not None
    template: Template = source.template
    changes = _changes(template, raw, kept)
    tree = replaced(raw.tree, changes)
    # the file's own statement stands where it makes one; else what it was read with goes on
    options = ReadOptions(scale_transform=source.scale_transform or None)
    if ", " in source.scale_transform:
        options = ReadOptions()
    return interpret(replace(raw, tree=tree), options)


def _changes(template: Template, raw: RawCheckpoint, kept: Kept) -> dict[Path, NDArray[Any]]:
    changes: dict[Path, NDArray[Any]] = {}
    layers: dict[tuple[str, tuple[int, ...]], Mapping[int, NDArray[np.intp]]] = {}
    for item in template.fields:
        # a slice of a flat vector cannot shrink without moving every tensor behind it, and the rows
        # and columns of its covariance
        if item.joint:
            raise _cannot(item.name)
        scales = () if item.scale is None else (item.scale, *item.scale_copies)
        slots = (item.loc, *item.loc_copies, *scales, *template.priors.get(item.name, ()))
        for slot in slots if item.name in kept else ():
            _cut(changes, raw.tree, slot, kept[item.name], item.name)
        if item.name in kept:
            layers[_layer(item.loc.path), tuple(item.loc.shape)] = kept[item.name]
    for name, slot in template.buffers.items():
        if name in kept:
            _cut(changes, raw.tree, slot, kept[name], name)
    _cut_companions(changes, raw.tree, layers)
    return changes


def _cut_companions(
    changes: dict[Path, NDArray[Any]],
    tree: Tree,
    layers: Mapping[tuple[str, tuple[int, ...]], Mapping[int, NDArray[np.intp]]],
) -> None:
    """Arrays of a layer that are no part of the posterior but have a tensor's shape: noise buffers."""
    for path, leaf in walk(tree):
        # what a field claimed is cut already; a second cut would take units that are gone
        if path in changes or not isinstance(leaf, np.ndarray):
            continue
        # same module and same shape: a neighbour's tensor of equal shape keeps its own units
        axes = layers.get((_layer(path), leaf.shape))
        if axes is not None:
            changes[path] = _take(leaf, axes)


def _layer(path: Path) -> str:
    """The module that an entry belongs to, one level up from it."""
    return dotted(path).rpartition(".")[0]


def _cut(
    changes: dict[Path, NDArray[Any]],
    tree: Tree,
    slot: Slot,
    axes: Mapping[int, NDArray[np.intp]],
    name: str,
) -> None:
    if slot.start is not None:
        raise _cannot(name)
    changes[slot.path] = _take(slot.get(tree), axes)


def _take(array: NDArray[Any], axes: Mapping[int, NDArray[np.intp]]) -> NDArray[Any]:
    for axis, index in axes.items():
        array = np.take(array, index, axis=axis)
    return np.ascontiguousarray(array)


def _cannot(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} is a piece of a vector or covariance that the file keeps whole",
        code="cannot-narrow",
        hint="prune a mean-field posterior stored tensor by tensor",
    )
